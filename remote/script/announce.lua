-- Announces what changes nothing here. ARGV: channel, message, '1' on a Cluster
redis.call('PERSIST', KEYS[1]) -- despite a lack of memory: see change.lua
return (lane_append(KEYS[1], ARGV[1], ARGV[2], ARGV[3]))
