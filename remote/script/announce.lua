-- Announces without a change. KEYS: stream, floors; or only the stream, see lane_append.
-- ARGV: channel, message, '1' on a Cluster. Replies with the id and the floor of all caches: a
-- record that was stored before, with a stamp below that floor, needs a higher stamp.
redis.call('PERSIST', KEYS[1]) -- works without memory: see announce_and_stamp.lua
local id = lane_append(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3])
return {id, KEYS[2] and lane_floor_named(KEYS[1], KEYS[2], '*')}
