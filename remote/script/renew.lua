-- Makes a lease last longer. ARGV: its token, milliseconds
if redis.call('GETRANGE', KEYS[1], 1, 16) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
