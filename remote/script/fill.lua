-- Stores a record where the token seen before is still in place: compare and set.
-- ARGV: token seen, record, milliseconds
local token = redis.call('GETRANGE', KEYS[1], 1, 16)
if token ~= ARGV[1] then return 0 end
put(KEYS[1], ARGV[2], ARGV[3])
return 1
