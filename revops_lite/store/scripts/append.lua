-- Accept events: each known id is refused, every other is appended and published in the same breath.
-- KEYS: 1 event stream, 2.. one key per event id
-- ARGV: 1 channel, 2 lifetime of an id (s), then per event: mark of its body, JSON bytes
-- returns per event: 1 new, 0 known with the same body, 2 known with another body
-- told: everyone subscribed to the channel. Safe to run twice: the second time every id is known.
local out = {}
for i = 2, #KEYS do
  local mark = ARGV[2 * i - 1]
  if redis.call('SET', KEYS[i], mark, 'NX', 'EX', ARGV[2]) then
    redis.call('XADD', KEYS[1], '*', 'e', ARGV[2 * i])
    redis.call('PUBLISH', ARGV[1], ARGV[2 * i])
    out[i - 1] = 1
  elseif redis.call('GET', KEYS[i]) == mark then
    out[i - 1] = 0
  else
    out[i - 1] = 2
  end
end
return out
