-- Removes whatever is there, of any type, and announces it even when nothing was: others may hold it.
-- ARGV: channel, message, floor
local h = redis.pcall('GETRANGE', KEYS[1], 0, HEADER - 1)
local none = type(h) == 'string' and absent(h, ARGV[3], KEYS[1])
if ARGV[2] ~= '' then redis.call('PERSIST', KEYS[2]) end
local id = announce()
local removed = redis.call('UNLINK', KEYS[1])
return {1, id, none and 0 or removed}
