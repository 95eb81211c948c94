-- Removes a string of at most one byte; any other value stays.
local s = redis.pcall('GETRANGE', KEYS[1], 0, 1)
if type(s) == 'table' then
  if string.find(s.err, 'WRONGTYPE', 1, true) then return 0 end
  return s
end
if #s > 1 then return 0 end
return redis.call('UNLINK', KEYS[1])
