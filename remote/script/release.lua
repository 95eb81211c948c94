-- Gives a lease back. Gives 0, 1 if it was there, 2 if it is waited for. ARGV: its token
local h = redis.call('GETRANGE', KEYS[1], 0, HEADER - 1)
if string.sub(h, 2, 17) ~= ARGV[1] then return 0 end
redis.call('UNLINK', KEYS[1])
return awaited(h) and 2 or 1
