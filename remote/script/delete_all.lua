-- Removes many keys, each as delete.lua does, with one announcement for all.
-- KEYS[1] and KEYS[2] are the lane's stream and floors. ARGV: channel, message, then the floor of
-- each key
redis.call('PERSIST', KEYS[1])
local reply = {1, (lane_append(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ''))}
for i = 3, #KEYS do
  local h = redis.pcall('GETRANGE', KEYS[i], 0, HEADER - 1)
  local none = type(h) == 'string' and absent(h, ARGV[i], KEYS[i])
  local removed = redis.call('UNLINK', KEYS[i])
  reply[i] = none and 0 or removed
end
return reply
