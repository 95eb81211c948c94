-- Sets the TTL of an entry, counted from now. The token changes, so that a refresh under way does
-- not bring the old TTL back.
-- ARGV: channel, message, floor, token, TTL as in the record (4 bytes), TTL in milliseconds (0:
-- without end)
local h = redis.call('GETRANGE', KEYS[1], 0, HEADER - 1)
if absent(h, ARGV[3], KEYS[1]) then return {0, '', 0} end
if ARGV[2] ~= '' then redis.call('PERSIST', KEYS[2]) end
local id = announce()
local px = tonumber(ARGV[6])
if known(h) then
  redis.call('SETRANGE', KEYS[1], 1, ARGV[4])
  redis.call('SETRANGE', KEYS[1], 25, stored_at() .. ARGV[5])
  px = px + (px > 0 and duration(h, 44) or 0)
end
if px == 0 then redis.call('PERSIST', KEYS[1]) else redis.call('PEXPIRE', KEYS[1], string.format('%.0f', px)) end
if known(h) and tagged(h) then return {1, id, 2} end
return {1, id, 1}
