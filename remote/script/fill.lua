-- Stores a record if the token that was seen is still in place: compare and set. Replies with 0 if
-- it was not, with 1 if it was, and with 2 if it was that of an awaited lease.
-- ARGV: token seen, record, milliseconds
local h = redis.call('GETRANGE', KEYS[1], 0, HEADER - 1)
if string.sub(h, 2, 17) ~= ARGV[1] then return 0 end
store(KEYS[1], dated(ARGV[2]), ARGV[3])
return awaited(h) and 2 or 1
