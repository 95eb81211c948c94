-- Stores a record where there is no entry; gives the one that is there otherwise.
-- ARGV: record, milliseconds, channel, message, now
local h = redis.call('GETRANGE', KEYS[1], 0, HEADER - 1)
if not absent(h, ARGV[5]) then return redis.call('GET', KEYS[1]) end
announce(ARGV[3], ARGV[4])
put(KEYS[1], ARGV[1], ARGV[2])
return false
