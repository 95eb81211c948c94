-- Raises a floor of the lane to an announcement of its own. A floor is never lowered, also if the
-- lane was lost and the server's clock has gone back. A floor that is not an id is replaced.
-- KEYS: stream, floors. ARGV: channel, message, '1' on a Cluster, name
redis.call('PERSIST', KEYS[1]) -- works without memory: see announce_and_stamp.lua
local id, ms, seq = lane_append(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3])
for _, name in ipairs({ARGV[4], '!'}) do
  if lane_later(ms, seq, lane_parts(lane_floor_named(KEYS[1], KEYS[2], name))) then redis.call('HSET', KEYS[2], name, id) end
end
return id
