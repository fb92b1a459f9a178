-- FINISH: end a batch of jobs and tell what came out, each only while its claim still stands.
--
-- KEYS  1 event stream  2 worker hash  3 worker's executions (set)
--       then per job: started registry, registry it ends in, job hash, execution hash, executions
-- ARGV  1 channel  2 now (epoch s)  3 now as RQ writes it  4 data that replaces a finished job's  5 how many finished
--       jobs a queue keeps  6 prefix of job keys  then per job: job id, execution id, status (finished | failed),
--       lifetime (s), event ('' for none), error as RQ keeps it ('' for none), worked (s)
-- Returns per job: 1 ended now, 2 had been ended by this very execution before, 0 late: its claim is gone.
-- Told: the event stream and the channel, once per job: one that had ended before is not told again.

local channel, now, stamp, spent = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local most, job_prefix = tonumber(ARGV[5]), ARGV[6]
local answers, gone, worked = {}, {}, 0
local counts = {finished = 0, failed = 0}
local registries = {} -- those that jobs end in: their words for ZADD, and for how long

-- One command for all members: each by itself costs more than its work.
local function call_with(verb, key, words)
  for first = 1, #words, 1000 do
    redis.call(verb, key, unpack(words, first, math.min(first + 999, #words)))
  end
end

local function keep(job_key, job, execution, status, ttl, fault, registry)
  local words = {'status', status, 'ended_at', stamp, 'ended_by', execution}
  if status == 'finished' then words[#words + 1] = 'data' words[#words + 1] = spent end
  if fault ~= '' then words[#words + 1] = 'exc_info' words[#words + 1] = fault end
  redis.call('HSET', job_key, unpack(words))
  redis.call('EXPIRE', job_key, ttl)
  local into = registries[registry] or {ttl = ttl, finished = status == 'finished'}
  into[#into + 1] = now + ttl
  into[#into + 1] = job
  registries[registry] = into
end

-- Of finished jobs the oldest go: a few more than come, where there had been too many.
local function forget(registry)
  local many = redis.call('ZCARD', registry) - most
  if many <= 0 then return end
  local old = redis.call('ZPOPMIN', registry, math.min(many, 500))
  for n = 1, #old, 2 do redis.call('DEL', job_prefix .. old[n]) end
end

for n = 1, (#KEYS - 3) / 5 do
  local k, a = 3 + (n - 1) * 5, 6 + (n - 1) * 7
  local started, registry = KEYS[k + 1], KEYS[k + 2]
  local job_key, execution_key, executions = KEYS[k + 3], KEYS[k + 4], KEYS[k + 5]
  local job, execution, status, ttl = ARGV[a + 1], ARGV[a + 2], ARGV[a + 3], tonumber(ARGV[a + 4])
  local event, fault = ARGV[a + 5], ARGV[a + 6]
  local member = job .. ':' .. execution

  if redis.call('ZREM', started, member) == 1 then
    redis.call('DEL', execution_key)
    redis.call('ZREM', executions, execution)
    gone[#gone + 1] = member
    local before = redis.call('HMGET', job_key, 'status', 'ended_by')
    if before[1] then keep(job_key, job, execution, status, ttl, fault, registry) end
    counts[status] = counts[status] + 1
    worked = worked + tonumber(ARGV[a + 7])
    if event ~= '' and not before[2] then
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

for registry, words in pairs(registries) do
  redis.call('ZREMRANGEBYSCORE', registry, '-inf', now)
  call_with('ZADD', registry, words)
  redis.call('EXPIRE', registry, words.ttl)
  if words.finished then forget(registry) end
end
call_with('SREM', KEYS[3], gone)
if #gone > 0 and redis.call('EXISTS', KEYS[2]) == 1 then
  if counts.finished > 0 then redis.call('HINCRBY', KEYS[2], 'successful_job_count', counts.finished) end
  if counts.failed > 0 then redis.call('HINCRBY', KEYS[2], 'failed_job_count', counts.failed) end
  redis.call('HINCRBYFLOAT', KEYS[2], 'total_working_time', string.format('%.6f', worked))
end
if redis.call('EXISTS', KEYS[2]) == 1 and redis.call('EXISTS', KEYS[3]) == 0 then
  redis.call('HSET', KEYS[2], 'state', 'idle')
end
return answers
