-- HEARTBEAT: a host says that it lives, and so do the jobs it has in flight. The first one registers it.
--
-- KEYS  1 worker hash  2 worker's executions (set)  3.. sets that name the worker (m of them)
--       then per execution: execution hash, started registry, executions
-- ARGV  1 now (epoch s)  2 now as RQ writes it  3 lifetime of an execution (s)  4 lifetime of the worker (s)
--       5 m  6 number p of words that describe the worker  then those words (field, value, ...)
--       then per execution: job id, execution id, job key
-- Returns the execution ids that are not this host's any more: recovered, or ended.
-- Told: nobody.

local now, stamp, ttl, worker_ttl = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local m, p = tonumber(ARGV[5]), tonumber(ARGV[6])
local lost = {}

for i = 7, 6 + p, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
local state = redis.call('EXISTS', KEYS[2]) == 1 and 'busy' or 'idle'
redis.call('HSET', KEYS[1], 'last_heartbeat', stamp, 'state', state)
redis.call('EXPIRE', KEYS[1], worker_ttl)
redis.call('EXPIRE', KEYS[2], ttl)
for i = 3, 2 + m do redis.call('SADD', KEYS[i], KEYS[1]) end

for n = 1, (#KEYS - 2 - m) / 3 do
  local k, a = 2 + m + (n - 1) * 3, 6 + p + (n - 1) * 3
  local execution_key, started, executions = KEYS[k + 1], KEYS[k + 2], KEYS[k + 3]
  local job, execution, job_key = ARGV[a + 1], ARGV[a + 2], ARGV[a + 3]
  if redis.call('ZSCORE', started, job .. ':' .. execution) then
    if redis.call('EXISTS', execution_key) == 1 then
      redis.call('HSET', execution_key, 'last_heartbeat', now)
      redis.call('EXPIRE', execution_key, ttl)
    end
    redis.call('ZADD', executions, 'XX', tonumber(now) + ttl, execution)
    redis.call('EXPIRE', executions, ttl)
    if redis.call('EXISTS', job_key) == 1 then redis.call('HSET', job_key, 'last_heartbeat', stamp) end
  else
    lost[#lost + 1] = execution
  end
end
return lost
