-- Take unclaimed jobs back out of a queue.
-- KEYS: 1 queue list, 2 event stream, then per job: job hash, event id
-- ARGV: 1 channel, 2 lifetime of an event id, then per job: job id, step.finished as JSON
-- returns how many came back; a job that has been claimed meanwhile is left alone
-- told: everyone on the channel. Safe to run twice: what came back is no longer in the list.
local back = 0
for i = 3, #KEYS, 2 do
  if redis.call('LREM', KEYS[1], 1, ARGV[i]) == 1 then
    redis.call('DEL', KEYS[i])
    if redis.call('SET', KEYS[i + 1], '1', 'NX', 'EX', ARGV[2]) then
      redis.call('XADD', KEYS[2], '*', 'e', ARGV[i + 1])
      redis.call('PUBLISH', ARGV[1], ARGV[i + 1])
    end
    back = back + 1
  end
end
return back
