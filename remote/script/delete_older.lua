-- Removes the key, of any type, except a record of this version whose stamp is at least the given
-- one (0: every record is removed).
-- ARGV: floor, stamp
local h = redis.pcall('GETRANGE', KEYS[1], 0, HEADER - 1)
local text = type(h) == 'string'
if ARGV[2] ~= ZERO and text and known(h) and not older(h, ARGV[2]) then return 0 end
local none = text and absent(h, ARGV[1], KEYS[1])
local removed = redis.call('UNLINK', KEYS[1])
return none and 0 or removed
