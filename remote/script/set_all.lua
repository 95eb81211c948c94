-- Stores records with one announcement for all. KEYS[1] and KEYS[2] are the lane's stream and
-- floors.
-- ARGV: channel, message, then record and milliseconds of each key
local id, ms, seq = lane_append(KEYS[1], KEYS[2], ARGV[1], ARGV[2], '')
for i = 3, #KEYS do store(KEYS[i], dated(stamped(ARGV[2 * i - 3], ms, seq)), ARGV[2 * i - 2]) end
return {1, id}
