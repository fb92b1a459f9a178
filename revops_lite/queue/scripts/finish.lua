-- FINISH: end a batch of jobs and tell what came out, each only while its claim still stands.
--
-- KEYS  1 event stream  2 worker hash  3 worker's executions (set)
--       then per job: event's seen key, started registry, registry it ends in, job hash, execution hash, executions
-- ARGV  1 channel  2 lifetime of a seen key (s)  3 now (epoch s)  4 now as RQ writes it  5 data that replaces a
--       finished job's  then per job: job id, execution id, status (finished | failed), lifetime (s), event ('' for
--       none), error as RQ keeps it ('' for none), worked (s)
-- Returns per job: 1 ended now, 2 had been ended by this very execution before, 0 late: its claim is gone.
-- Told: the event stream and the channel, once per seen key.

local channel, seen_ttl, now, stamp, spent = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local answers = {}

for n = 1, (#KEYS - 3) / 6 do
  local k, a = 3 + (n - 1) * 6, 5 + (n - 1) * 7
  local seen, started, registry = KEYS[k + 1], KEYS[k + 2], KEYS[k + 3]
  local job_key, execution_key, executions = KEYS[k + 4], KEYS[k + 5], KEYS[k + 6]
  local job, execution, status, ttl = ARGV[a + 1], ARGV[a + 2], ARGV[a + 3], tonumber(ARGV[a + 4])
  local event, fault, worked = ARGV[a + 5], ARGV[a + 6], ARGV[a + 7]
  local member = job .. ':' .. execution

  if redis.call('ZREM', started, member) == 1 then
    redis.call('DEL', execution_key)
    redis.call('ZREM', executions, execution)
    redis.call('SREM', KEYS[3], member)
    if redis.call('EXISTS', job_key) == 1 then
      redis.call('HSET', job_key, 'status', status, 'ended_at', stamp, 'ended_by', execution)
      if status == 'finished' then redis.call('HSET', job_key, 'data', spent) end
      if fault ~= '' then redis.call('HSET', job_key, 'exc_info', fault) end
      redis.call('EXPIRE', job_key, ttl)
      redis.call('ZREMRANGEBYSCORE', registry, '-inf', now)
      redis.call('ZADD', registry, now + ttl, job)
      redis.call('EXPIRE', registry, ttl)
    end
    if redis.call('EXISTS', KEYS[2]) == 1 then
      local count = status == 'finished' and 'successful_job_count' or 'failed_job_count'
      redis.call('HINCRBY', KEYS[2], count, 1)
      redis.call('HINCRBYFLOAT', KEYS[2], 'total_working_time', worked)
    end
    if event ~= '' and redis.call('SET', seen, '1', 'NX', 'EX', seen_ttl) then
      redis.call('XADD', KEYS[1], '*', 'e', event)
      redis.call('PUBLISH', channel, event)
    end
    answers[n] = 1
  elseif redis.call('HGET', job_key, 'ended_by') == execution then
    answers[n] = 2
  else
    answers[n] = 0
  end
end
if redis.call('EXISTS', KEYS[2]) == 1 and redis.call('EXISTS', KEYS[3]) == 0 then
  redis.call('HSET', KEYS[2], 'state', 'idle')
end
return answers
