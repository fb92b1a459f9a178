-- RECOVER: jobs whose host is dead go back to the front of their queue, or, under blame, to where suspects run alone.
-- Only a death in which a job was alone is certainly its own: only those count, and it then goes behind the others.
--
-- KEYS  1 set of queue keys
-- ARGV  1 executions with a last sign of life before this are dead ('' for no such rule)  2 blame (0 | 1)
--       3 hosts that died of it alone, after which a job is poison  4 all workers whose name begins so are dead ('' for none)
--       5 suffix of isolated queues  6 prefix of queue keys  7 of started registries  8 of job keys  9 of execution
--       keys  10 of executions keys  11 head and 12 tail of a worker's executions key  then names of dead workers
-- Returns {moved, poison}: moved = {{job id, from, to}, ...}, poison = {{job id, execution id, queue, data}, ...}.
-- Poison stays in flight, so that the caller ends it with FINISH; until then each call names it again.
-- Told: the hosts that serve a queue, on the channel named as its list.

local before, blame, limit, beginning = tonumber(ARGV[1]), ARGV[2] == '1', tonumber(ARGV[3]), ARGV[4]
local suffix, queue_prefix, started_prefix, job_prefix = ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local execution_prefix, executions_prefix, head, tail = ARGV[9], ARGV[10], ARGV[11], ARGV[12]
local dead = {}
for i = 13, #ARGV do dead[ARGV[i]] = true end

local function is_dead(worker, seen)
  if not worker then return before ~= nil or beginning ~= '' end -- its execution has run out: nobody has it
  if dead[worker] then return true end
  if beginning ~= '' and string.sub(worker, 1, #beginning) == beginning then return true end
  return before ~= nil and (tonumber(seen) or 0) < before
end

-- What others have put where our books are is nothing to us, whatever its type.
local function read(...)
  local answer = redis.pcall(...)
  if answer.err then return {} end
  return answer
end

local function find(queue, found)
  for _, member in ipairs(read('ZRANGE', started_prefix .. queue, 0, -1)) do
    local job, execution = string.match(member, '^([%w_-]+):([%w_.-]+)$')
    local seen = read('HMGET', execution_prefix .. member, 'worker_name', 'last_heartbeat', 'created_at')
    if not job then
      redis.call('ZREM', started_prefix .. queue, member)
    elseif is_dead(seen[1], seen[2]) then
      found[#found + 1] = {job = job, execution = execution, member = member, queue = queue, worker = seen[1],
                           at = tonumber(seen[3] or '0') or 0}
    end
  end
end

local function release(one)
  redis.call('ZREM', started_prefix .. one.queue, one.member)
  redis.call('DEL', execution_prefix .. one.member)
  redis.pcall('ZREM', executions_prefix .. one.job, one.execution)
  if one.worker then redis.pcall('SREM', head .. one.worker .. tail, one.member) end
end

local found, moved, poison = {}, {}, {}
for _, key in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  find(string.sub(key, #queue_prefix + 1), found)
end
-- Pushed to the front one by one: the youngest first, so that the oldest is the next.
table.sort(found, function(a, b) if a.at ~= b.at then return a.at > b.at end return a.member > b.member end)

for _, one in ipairs(found) do
  local job_key = job_prefix .. one.job
  local kept = read('HMGET', job_key, 'data', 'recoveries')
  local alone = blame and string.sub(one.queue, -#suffix) == suffix
  local count = (tonumber(kept[2] or '0') or 0) + (alone and 1 or 0)
  if not kept[1] then
    release(one)
  elseif alone and count >= limit then
    redis.call('HSET', job_key, 'recoveries', limit)
    poison[#poison + 1] = {one.job, one.execution, one.queue, kept[1]}
  else
    local to = one.queue
    if blame and not alone then to = to .. suffix end
    release(one)
    redis.call('HSET', job_key, 'status', 'queued', 'origin', to, 'started_at', '', 'worker_name', '',
               'recoveries', count)
    redis.call('SADD', KEYS[1], queue_prefix .. to)
    redis.call(alone and 'RPUSH' or 'LPUSH', queue_prefix .. to, one.job)
    redis.call('PUBLISH', queue_prefix .. to, to)
    moved[#moved + 1] = {one.job, one.queue, to}
  end
end
return {moved, poison}
