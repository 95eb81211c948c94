-- Removes whatever is there, of any type, except records of this version whose stamp is not below the given one (0: none is kept).
-- ARGV: floor, stamp
local h = redis.pcall('GETRANGE', KEYS[1], 0, HEADER - 1)
local text = type(h) == 'string'
if ARGV[2] ~= ZERO and text and known(h) and not older(h, ARGV[2]) then return 0 end
local none = text and absent(h, ARGV[1], KEYS[1])
local removed = redis.call('UNLINK', KEYS[1])
return none and 0 or removed
