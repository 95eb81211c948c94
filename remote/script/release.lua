-- Gives a lease back. ARGV: its token
if redis.call('GETRANGE', KEYS[1], 1, 16) == ARGV[1] then return redis.call('UNLINK', KEYS[1]) end
return 0
