-- Place or release a hold: effective at the CRM's gate at once, and an event for the controller.
-- KEYS: 1 holds, 2 event stream, 3 event id
-- ARGV: 1 channel, 2 lifetime of an event id, 3 event as JSON, 4 'record|field', 5 hold as JSON, or '' to release
-- returns 1 new, 0 this event was known
-- told: everyone on the channel
if not redis.call('SET', KEYS[3], '1', 'NX', 'EX', ARGV[2]) then return 0 end
if ARGV[5] == '' then
  redis.call('HDEL', KEYS[1], ARGV[4])
else
  redis.call('HSET', KEYS[1], ARGV[4], ARGV[5])
end
redis.call('XADD', KEYS[2], '*', 'e', ARGV[3])
redis.call('PUBLISH', ARGV[1], ARGV[3])
return 1
