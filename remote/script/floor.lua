-- Raises a floor of the lane to an announcement of its own, unless somebody has raised it since. A floor is never lowered, not even when the lane
-- was lost and the server's clock has gone back.
-- KEYS: stream, floors. ARGV: channel, message, '1' on a Cluster, name, id known ('0-0': raise it whatever it is)
local function before(a, b)
  local ms, seq = string.match(a, '^(%d+)-(%d+)$')
  local ms2, seq2 = string.match(b, '^(%d+)-(%d+)$')
  if ms ~= ms2 then return tonumber(ms) < tonumber(ms2) end
  return tonumber(seq) < tonumber(seq2)
end
local now = redis.call('HGET', KEYS[2], ARGV[4]) or '0-0'
if ARGV[5] ~= '0-0' and before(ARGV[5], now) then return now end
redis.call('PERSIST', KEYS[1]) -- despite a lack of memory: see change.lua
local id = lane_append(KEYS[1], ARGV[1], ARGV[2], ARGV[3])
for _, name in ipairs({ARGV[4], '!'}) do
  if before(redis.call('HGET', KEYS[2], name) or '0-0', id) then redis.call('HSET', KEYS[2], name, id) end
end
return id
