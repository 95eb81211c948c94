-- Stores a record where there is no entry; gives the one that is there otherwise.
-- ARGV: channel, message, floor, record, milliseconds
local h = redis.call('GETRANGE', KEYS[1], 0, HEADER - 1)
if not absent(h, ARGV[3], KEYS[1]) then return {0, '', redis.call('GET', KEYS[1])} end
local id, ms, seq = announce()
put(KEYS[1], dated(stamped(ARGV[4], ms, seq)), ARGV[5])
return {1, id}
