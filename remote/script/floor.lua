-- Raises a floor of the lane to an announcement of its own, unless somebody has raised it since. A floor is never lowered, not even when the lane
-- was lost and the server's clock has gone back.
-- KEYS: stream, floors. ARGV: channel, message, '1' on a Cluster, name, id known ('0-0': raise it whatever it is)
local function before(a, b)
  local ms, seq = string.match(a, '^(%d+)-(%d+)$')
  local ms2, seq2 = string.match(b, '^(%d+)-(%d+)$')
  if ms ~= ms2 then return tonumber(ms) < tonumber(ms2) end
  return tonumber(seq) < tonumber(seq2)
end
-- A floor as it stands; what is not an id, or is past all that a record can keep, is replaced like none.
local function floor_of(name)
  local id = lane_floor_named(KEYS[1], KEYS[2], name)
  local ms = id and string.match(id, '^(%d+)%-%d+$')
  return ms and tonumber(ms) < 17592186044416 and id or '0-0'
end
local now = floor_of(ARGV[4])
if ARGV[5] ~= '0-0' and before(ARGV[5], now) then return now end
redis.call('PERSIST', KEYS[1]) -- despite a lack of memory: see change.lua
local id = lane_append(KEYS[1], ARGV[1], ARGV[2], ARGV[3])
for _, name in ipairs({ARGV[4], '!'}) do
  if before(floor_of(name), id) then redis.call('HSET', KEYS[2], name, id) end
end
return id
