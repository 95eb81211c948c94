-- Stores a record if there is no entry; otherwise replies with the entry.
-- ARGV: channel, message, floor, record, milliseconds
local h = redis.call('GETRANGE', KEYS[1], 0, HEADER - 1)
if not absent(h, ARGV[3], KEYS[1]) then return {0, '', redis.call('GET', KEYS[1])} end
local id, ms, seq = announce()
store(KEYS[1], dated(stamped(ARGV[4], ms, seq)), ARGV[5])
return {1, id}
