-- How many lanes there are, noted by whoever comes first. ARGV: how many the caller has
local n = redis.call('GET', KEYS[1])
if n then return n end
redis.call('SET', KEYS[1], ARGV[1])
return ARGV[1]
