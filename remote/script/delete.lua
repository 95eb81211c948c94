-- Removes whatever is there, of any type, and announces it even when nothing was: others may hold it.
-- ARGV: channel, message, now
local h = redis.pcall('GETRANGE', KEYS[1], 0, HEADER - 1)
announce(ARGV[1], ARGV[2])
local removed = redis.call('UNLINK', KEYS[1])
if type(h) == 'string' and absent(h, ARGV[3]) then return 0 end
return removed
