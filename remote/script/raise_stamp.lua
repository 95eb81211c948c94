-- Gives the record with this token a higher stamp. ARGV: token, stamp
local h = redis.pcall('GETRANGE', KEYS[1], 0, HEADER - 1)
if type(h) ~= 'string' or not known(h) or string.sub(h, 2, 17) ~= ARGV[1] or not older(h, ARGV[2]) then return 0 end
redis.call('SETRANGE', KEYS[1], 17, ARGV[2])
return 1
