-- Takes a lease unless something is there; gives what is there.
-- ARGV: lease record, milliseconds
local v = redis.call('GET', KEYS[1])
if v then return v end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false
