-- Releases a lease. Replies with 0 if it was not there, with 1 if it was, and with 2 if it was
-- awaited.
-- ARGV: its token
local h = redis.call('GETRANGE', KEYS[1], 0, HEADER - 1)
if string.sub(h, 2, 17) ~= ARGV[1] then return 0 end
redis.call('UNLINK', KEYS[1])
return awaited(h) and 2 or 1
