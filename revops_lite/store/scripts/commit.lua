-- One decision, or a batch of them: all of it or nothing.
-- KEYS: 1 controller hash
-- ARGV: 1 epoch, 2 number of the last commit, 3 new cursor ('' keeps it), 4 now, then commands, each as: count, word...
-- Words of our own, each for many commands of the same kind:
--   HDELSAME key field value            HDEL where that very value stands there
--   SETS lifetime (key value)...        SET each
--   XADDS stream field value...         XADD each
--   TELL stream field channel value...  XADD and PUBLISH each
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
local own = {}

function own.HDELSAME(first)
  if redis.call('HGET', ARGV[first], ARGV[first + 1]) == ARGV[first + 2] then
    redis.call('HDEL', ARGV[first], ARGV[first + 1])
  end
end

function own.SETS(first, last)
  for n = first + 1, last, 2 do redis.call('SET', ARGV[n], ARGV[n + 1], 'EX', ARGV[first]) end
end

function own.XADDS(first, last)
  for n = first + 2, last do redis.call('XADD', ARGV[first], '*', ARGV[first + 1], ARGV[n]) end
end

function own.TELL(first, last)
  for n = first + 3, last do
    redis.call('XADD', ARGV[first], '*', ARGV[first + 1], ARGV[n])
    redis.call('PUBLISH', ARGV[first + 2], ARGV[n])
  end
end

local i = 5
while i <= #ARGV do
  local last = i + tonumber(ARGV[i])
  local word = own[ARGV[i + 1]]
  if word then
    word(i + 2, last)
  else
    redis.call(unpack(ARGV, i + 1, last))
  end
  i = last + 1
end
redis.call('HSET', KEYS[1], 'seq', seq + 1, 'heartbeat', ARGV[4])
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[1], 'cursor', ARGV[3])
end
return 1
