-- Stores a record where the token seen before is still in place: compare and set. Gives 0, 1 if it was, 2 if that was a lease that is waited for.
-- ARGV: token seen, record, milliseconds
local h = redis.call('GETRANGE', KEYS[1], 0, HEADER - 1)
if string.sub(h, 2, 17) ~= ARGV[1] then return 0 end
put(KEYS[1], dated(ARGV[2]), ARGV[3])
return awaited(h) and 2 or 1
