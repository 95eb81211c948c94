-- Stores a record where there is no entry; gives the one that is there otherwise.
-- ARGV: channel, message, now, floor, record, milliseconds
local h = redis.call('GETRANGE', KEYS[1], 0, HEADER - 1)
if not absent(h, ARGV[3], ARGV[4]) then return {0, '', redis.call('GET', KEYS[1])} end
local id, ms, seq = announce()
put(KEYS[1], stamped(ARGV[5], ms, seq), ARGV[6])
return {1, id}
