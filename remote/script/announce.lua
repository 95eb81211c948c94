-- Announces what changes nothing here. KEYS: stream, floors; or the stream alone, see lane_append. ARGV: channel, message, '1' on a
-- Cluster. Gives the id, and the floor of all caches: what was stored before with a stamp below it has to be lifted.
redis.call('PERSIST', KEYS[1]) -- despite a lack of memory: see change.lua
local id = lane_append(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3])
return {id, KEYS[2] and lane_floor_named(KEYS[1], KEYS[2], '*')}
