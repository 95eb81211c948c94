-- Removes the key, of any type, and announces the change even if there was no key: other instances
-- may hold copies.
-- ARGV: channel, message, floor
local h = redis.pcall('GETRANGE', KEYS[1], 0, HEADER - 1)
local none = type(h) == 'string' and absent(h, ARGV[3], KEYS[1])
if ARGV[2] ~= '' then redis.call('PERSIST', KEYS[2]) end
local id = announce()
local removed = redis.call('UNLINK', KEYS[1])
return {1, id, none and 0 or removed}
