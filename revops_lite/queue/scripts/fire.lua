-- FIRE: move a schedule from one slot to the next and tell the slot, in one breath, only if nobody else has.
--
-- KEYS  1 schedule (sorted set: job id -> next slot)  2 job hash  3 event stream  4 the event's seen key
-- ARGV  1 job id  2 slot it waits for, as read  3 rule it was read under  4 next slot  5 when the hash may expire
--       6 slot that is told ('' for none)  7 event ('' for none)  8 channel  9 lifetime of a seen key (s)
-- Returns 1 told, 2 moved on and nothing told (skipped, or its id was known), 0 nothing done: the schedule has moved
--       on, has another rule or is gone.
-- Told: the event stream and the channel. Safe to run twice: the second time the schedule has moved on.

local planned = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not planned or tonumber(planned) ~= tonumber(ARGV[2]) or redis.call('HGET', KEYS[2], 'rule') ~= ARGV[3] then
  return 0
end
redis.call('ZADD', KEYS[1], ARGV[4], ARGV[1])
redis.call('EXPIREAT', KEYS[2], ARGV[5])
if ARGV[7] == '' then return 2 end
redis.call('HSET', KEYS[2], 'last_slot', ARGV[6])
if not redis.call('SET', KEYS[4], '1', 'NX', 'EX', ARGV[9]) then return 2 end
redis.call('XADD', KEYS[3], '*', 'e', ARGV[7])
redis.call('PUBLISH', ARGV[8], ARGV[7])
return 1
