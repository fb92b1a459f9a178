-- CLAIM: take up to k waiting jobs, oldest first, and mark them started. Nothing is ever between list and registry.
--
-- KEYS  1 worker hash  2 worker's executions (set)  3 tags of agents that nobody may call now (set; '' for none)
--       then per queue: list, started registry
-- ARGV  1 claim (made by the caller, once per call)  2 k  3 now (epoch s)  4 now as RQ writes it  5 lifetime of an
--       execution (s)  6 worker name  7 prefix of job keys  8 prefix of execution keys  9 prefix of executions keys
--       then per queue: its name
-- Returns {{job id, execution id, queue, data, recoveries}, ...}. The same claim again returns the same jobs.
-- Ids without a readable, queued job behind them are dropped. Jobs of agents that may not be called stay where they are.
-- Told: nobody.

local claim, k, now, stamp, ttl, worker = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]
local job_prefix, execution_prefix, executions_prefix = ARGV[7], ARGV[8], ARGV[9]
local taken, paused, members = {}, {}, {}

local function read(key)
  local found = redis.pcall('HMGET', key, 'data', 'status', 'recoveries')
  if found.err then return {} end
  return found
end

-- One command for all members: each by itself costs more than its work.
local function call_with(verb, key, words)
  for first = 1, #words, 1000 do
    redis.call(verb, key, unpack(words, first, math.min(first + 999, #words)))
  end
end

if redis.call('HGET', KEYS[1], 'claim') == claim then
  local members = redis.call('SMEMBERS', KEYS[2])
  for _, member in ipairs(members) do
    local job, execution = string.match(member, '^([^:]+):(.+)$')
    if job and string.sub(execution, 1, #claim + 1) == claim .. '.' then
      local found = read(job_prefix .. job)
      local queue = redis.call('HGET', execution_prefix .. member, 'queue')
      if found[1] and queue then
        taken[#taken + 1] = {job, execution, queue, found[1], tonumber(found[3] or '0') or 0}
      end
    end
  end
  return taken
end

if KEYS[3] ~= '' then
  for _, tag in ipairs(redis.call('SMEMBERS', KEYS[3])) do paused[tag] = true end
end

-- Whether nobody may call its agent now. Its tag is the second part of an id, the third where a group of a run is named.
local function set_aside(job)
  local second, third = string.match(job, '^[^-]+%-([^-]+)%-([^-]+)')
  return paused[second] or paused[third]
end

-- Marks a job as started; false for an id without a readable, queued job behind it.
local function start(job, queue)
  local job_key = job_prefix .. job
  local found = string.match(job, '^[%w_-]+$') and read(job_key) or {}
  if not found[1] or found[2] ~= 'queued' then return false end
  local execution = claim .. '.' .. (#taken + 1)
  local member = job .. ':' .. execution
  local execution_key = execution_prefix .. member
  redis.call('HSET', execution_key, 'id', execution, 'job_id', job, 'created_at', now, 'last_heartbeat', now,
             'worker_name', worker, 'queue', queue)
  redis.call('EXPIRE', execution_key, ttl)
  redis.call('ZADD', executions_prefix .. job, tonumber(now) + ttl, execution)
  redis.call('EXPIRE', executions_prefix .. job, ttl)
  redis.call('HSET', job_key, 'status', 'started', 'started_at', stamp, 'last_heartbeat', stamp, 'worker_name', worker)
  taken[#taken + 1] = {job, execution, queue, found[1], tonumber(found[3] or '0') or 0}
  return member
end

for i = 4, #KEYS, 2 do
  local aside, started = {}, {}
  local waiting = #taken < k and redis.call('LPOP', KEYS[i], k - #taken)
  while waiting do
    for _, job in ipairs(waiting) do
      if set_aside(job) then
        aside[#aside + 1] = job
      else
        local member = start(job, ARGV[8 + i / 2])
        if member then
          members[#members + 1] = member
          -- Without an end: RQ's own clean-up would fail an entry that has run out, and nobody would hear of it.
          started[#started + 1] = '+inf'
          started[#started + 1] = member
        end
      end
    end
    waiting = #taken < k and redis.call('LPOP', KEYS[i], k - #taken)
  end
  call_with('ZADD', KEYS[i + 1], started)
  for n = #aside, 1, -1 do redis.call('LPUSH', KEYS[i], aside[n]) end
end

if #taken > 0 then
  call_with('SADD', KEYS[2], members)
  redis.call('HSET', KEYS[1], 'claim', claim, 'state', 'busy')
  redis.call('EXPIRE', KEYS[1], ttl)
  redis.call('EXPIRE', KEYS[2], ttl)
end
return taken
