-- Acquires a lease unless a record is there, and replies with the record that is there. A lease
-- that is there is marked as awaited.
-- ARGV: lease record, milliseconds, the token of a record that counts as absent ('' for none)
local v = redis.call('GET', KEYS[1])
if not v or (ARGV[3] ~= '' and known(v) and string.sub(v, 2, 17) == ARGV[3]) then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return false
end
if known(v) and string.byte(v, 1) == 1 and not awaited(v) then
  local reply = redis.pcall('SETRANGE', KEYS[1], 42, string.char(string.byte(v, 43) + 4))
  -- Without memory there is no mark, and a caller that waits has to look again by itself.
  if type(reply) == 'table' and not string.find(reply.err, 'OOM', 1, true) then return reply end
end
return v
