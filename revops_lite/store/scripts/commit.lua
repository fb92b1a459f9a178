-- One decision, or a batch of them: all of it or nothing.
-- KEYS: 1 controller hash, 2 event stream
-- ARGV: 1 epoch, 2 number of the last commit, 3 new cursor, 4 now, 5 '1' where there is nothing to decide about the
--       events told here, then commands, each as: count, word...
-- Words of our own, each for many commands of the same kind:
--   HDELSAME key field value            HDEL where that very value stands there
--   SETS lifetime (key value)...        SET each
--   XADDS stream field value...         XADD each
--   HSETS lifetime n (name) m (name value) (key n values)...
--                                       HSET and EXPIRE each: its own n fields, and m that all of them have
--   TELL stream field channel value...  XADD and PUBLISH each
-- returns the cursor: the new one, or, with ARGV 5, behind the events told here where no other came in between; '' where
-- this very commit was done before (its reply was lost); error FENCED for any other number or epoch
-- told: whoever the PUBLISH commands among them reach
local state = redis.call('HMGET', KEYS[1], 'epoch', 'seq')
if state[1] ~= ARGV[1] then
  return redis.error_reply('FENCED epoch ' .. tostring(state[1]))
end
local seq = tonumber(state[2] or '0')
if seq == tonumber(ARGV[2]) + 1 then
  return ''
end
if seq ~= tonumber(ARGV[2]) then
  return redis.error_reply('FENCED commit ' .. tostring(seq))
end
local cursor, told = ARGV[3], nil
local newest = ARGV[5] == '1' and redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
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

function own.HSETS(first, last)
  local own_fields, shared = tonumber(ARGV[first + 1]), first + 2 + tonumber(ARGV[first + 1])
  local at = shared + 1 + 2 * tonumber(ARGV[shared])
  local words = {unpack(ARGV, shared + 1, at - 1)}
  local few = #words
  while at <= last do
    for n = 1, own_fields do
      words[few + 2 * n - 1] = ARGV[first + 1 + n]
      words[few + 2 * n] = ARGV[at + n]
    end
    redis.call('HSET', ARGV[at], unpack(words))
    redis.call('EXPIRE', ARGV[at], ARGV[first])
    at = at + own_fields + 1
  end
end

function own.TELL(first, last)
  for n = first + 3, last do
    told = redis.call('XADD', ARGV[first], '*', ARGV[first + 1], ARGV[n])
    redis.call('PUBLISH', ARGV[first + 2], ARGV[n])
  end
end

local i = 6
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
if newest and told and newest[1] == cursor then cursor = told end
redis.call('HSET', KEYS[1], 'seq', seq + 1, 'heartbeat', ARGV[4], 'cursor', cursor)
return cursor
