-- PLAN: set or change a schedule, only if it still stands as it was read.
--
-- KEYS  1 schedule (sorted set: job id -> next slot)  2 job hash
-- ARGV  1 job id  2 slot it waits for, as read ('' for none)  3 rule, as read ('' for none)  4 its slot from now on
--       5 when the hash may expire  then the fields of the job hash: name, value
-- Returns 1 planned, 0 nothing done: somebody else has changed it since.
-- Told: nobody. Safe to run twice: it sets what it set before, or nothing.

local planned = redis.call('ZSCORE', KEYS[1], ARGV[1])
local same = (planned and ARGV[2] ~= '' and tonumber(planned) == tonumber(ARGV[2])) or (not planned and ARGV[2] == '')
if not same or (redis.call('HGET', KEYS[2], 'rule') or '') ~= ARGV[3] then
  return 0
end
redis.call('HSET', KEYS[2], unpack(ARGV, 6))
redis.call('EXPIREAT', KEYS[2], ARGV[5])
redis.call('ZADD', KEYS[1], ARGV[4], ARGV[1])
return 1
