-- Removes whatever is there, of any type, except records of this version whose stamp is not below the given one (0: none is kept).
-- ARGV: now, floor, stamp
local h = redis.pcall('GETRANGE', KEYS[1], 0, HEADER - 1)
local text = type(h) == 'string'
if ARGV[3] ~= ZERO and text and known(h) and not older(h, ARGV[3]) then return 0 end
local removed = redis.call('UNLINK', KEYS[1])
if text and absent(h, ARGV[1], ARGV[2]) then return 0 end
return removed
