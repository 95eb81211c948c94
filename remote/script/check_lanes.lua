-- Replies with the number of lanes, which the first instance records. A value that is not a number
-- is replaced. ARGV: the caller's number of lanes
local n = lane_own('GET', KEYS[1])
if n and string.find(n, '^%d+$') then return n end
redis.call('SET', KEYS[1], ARGV[1])
return ARGV[1]
