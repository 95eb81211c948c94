-- Stores records with one announcement for all. KEYS[1] is the lane's stream; ARGV: channel, message, then record and milliseconds of each key
local id, ms, seq = lane_append(KEYS[1], ARGV[1], ARGV[2], '')
for i = 2, #KEYS do put(KEYS[i], dated(stamped(ARGV[2 * i - 1], ms, seq)), ARGV[2 * i]) end
return {1, id}
