-- The last word before a call to the CRM: still ours, unchanged, not on hold, within the hour's budget. Then the
-- before-image is on record (write.sending) before the call is made.
-- KEYS: 1 controller hash, 2 intent, 3 holds, 4 calls of the record in the last hour, 5 event stream, 6 event id,
--       7 calls under way
-- ARGV: 1 epoch, 2 intent as the writer read it, 3 now, 4 calls allowed in an hour, 5 call id, 6 channel,
--       7 lifetime of an event id, 8 write.sending as JSON, 9 record, 10.. fields
-- returns {'go'}, {'fenced'}, {'changed'}, {'held', field...}, {'budget', seconds until a call is free}
-- told: everyone on the channel, of write.sending. Safe to run twice: the same call id counts once.
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return {'fenced'} end
if redis.call('GET', KEYS[2]) ~= ARGV[2] then return {'changed'} end
if redis.call('HEXISTS', KEYS[3], ARGV[9] .. '|*') == 1 then return {'held', '*'} end
local held = {'held'}
for i = 10, #ARGV do
  if redis.call('HEXISTS', KEYS[3], ARGV[9] .. '|' .. ARGV[i]) == 1 then held[#held + 1] = ARGV[i] end
end
if #held > 1 then return held end
local now = tonumber(ARGV[3])
if not redis.call('ZSCORE', KEYS[4], ARGV[5]) then
  redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', '(' .. (now - 3600))
  if redis.call('ZCARD', KEYS[4]) >= tonumber(ARGV[4]) then
    local oldest = redis.call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')
    return {'budget', tostring(tonumber(oldest[2]) + 3600 - now)}
  end
end
redis.call('ZADD', KEYS[4], now, ARGV[5])
redis.call('EXPIRE', KEYS[4], 3700)
redis.call('HSET', KEYS[7], ARGV[9], ARGV[5])
if redis.call('SET', KEYS[6], '1', 'NX', 'EX', ARGV[7]) then
  redis.call('XADD', KEYS[5], '*', 'e', ARGV[8])
  redis.call('PUBLISH', ARGV[6], ARGV[8])
end
return {'go'}
