-- Removes the record with the token that was seen, and announces that, unless another record is
-- there.
-- ARGV: channel, message, token seen
local h = redis.pcall('GETRANGE', KEYS[1], 0, HEADER - 1)
if type(h) == 'table' then
  if string.find(h.err, 'WRONGTYPE', 1, true) then return {0, ''} end
  return h
end
if ARGV[3] == '' or string.sub(h, 2, 17) ~= ARGV[3] then return {0, ''} end
if ARGV[2] ~= '' then redis.call('PERSIST', KEYS[2]) end
local id = announce()
redis.call('UNLINK', KEYS[1])
return {1, id}
