-- One decision, or a batch of them: all of it or nothing.
-- KEYS: 1 controller hash
-- ARGV: 1 epoch, 2 number of the last commit, 3 new cursor ('' keeps it), 4 now, then commands, each as: count, word...
-- HDELSAME key field value is our own word: HDEL where that very value stands there
-- returns 1 done, 0 this very commit was done before (its reply was lost); error FENCED for any other number or epoch
-- told: whoever the PUBLISH commands among them reach
local state = redis.call('HMGET', KEYS[1], 'epoch', 'seq')
if state[1] ~= ARGV[1] then
  return redis.error_reply('FENCED epoch ' .. tostring(state[1]))
end
local seq = tonumber(state[2] or '0')
if seq == tonumber(ARGV[2]) + 1 then
  return 0
end
if seq ~= tonumber(ARGV[2]) then
  return redis.error_reply('FENCED commit ' .. tostring(seq))
end
local i = 5
while i <= #ARGV do
  local count = tonumber(ARGV[i])
  if ARGV[i + 1] ~= 'HDELSAME' then
    redis.call(unpack(ARGV, i + 1, i + count))
  elseif redis.call('HGET', ARGV[i + 2], ARGV[i + 3]) == ARGV[i + 4] then
    redis.call('HDEL', ARGV[i + 2], ARGV[i + 3])
  end
  i = i + count + 1
end
redis.call('HSET', KEYS[1], 'seq', seq + 1, 'heartbeat', ARGV[4])
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[1], 'cursor', ARGV[3])
end
return 1
