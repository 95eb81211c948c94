-- Gives an entry another life, counted from now. The token changes, so that a refresh in flight does not bring the old life back.
-- ARGV: token, created and TTL as in the record (12 bytes), TTL in milliseconds (0: for ever), channel, message, now
local h = redis.call('GETRANGE', KEYS[1], 0, HEADER - 1)
if absent(h, ARGV[6]) then return 0 end
announce(ARGV[4], ARGV[5])
local px = tonumber(ARGV[3])
if #h == HEADER and string.byte(h, 42) == 1 then
  redis.call('SETRANGE', KEYS[1], 1, ARGV[1])
  redis.call('SETRANGE', KEYS[1], 25, ARGV[2])
  px = px + (px > 0 and duration(h, 44) or 0)
end
if px == 0 then redis.call('PERSIST', KEYS[1]) else redis.call('PEXPIRE', KEYS[1], string.format('%.0f', px)) end
if #h == HEADER and string.byte(h, 42) == 1 and tagged(h) then return 2 end
return 1
