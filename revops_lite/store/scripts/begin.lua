-- A controller takes over: a new epoch fences every other one out.
-- KEYS: 1 controller hash
-- ARGV: 1 owner, 2 now, 3 seconds after which a silent controller counts as gone, 4 '1' to take over regardless
-- returns {epoch, seq, cursor}; error TAKEN <owner> while another one's heartbeat is fresh
-- told: nobody; the other controller's next commit fails
local state = redis.call('HMGET', KEYS[1], 'owner', 'heartbeat', 'seq', 'cursor')
if ARGV[4] ~= '1' and state[1] and state[1] ~= '' and state[1] ~= ARGV[1] and state[2] then
  if tonumber(ARGV[2]) - tonumber(state[2]) < tonumber(ARGV[3]) then
    return redis.error_reply('TAKEN ' .. state[1])
  end
end
local epoch = redis.call('HINCRBY', KEYS[1], 'epoch', 1)
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'heartbeat', ARGV[2])
return {epoch, tonumber(state[3] or '0'), state[4] or '0-0'}
