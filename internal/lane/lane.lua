-- A lane: see internal/lane. Ids cross Lua as text or as bytes, never as one number: Lua's are doubles, exact only to 2^53.
local LANE_MAXLEN = 65536
-- The four bytes of a number below 2^32, as numbers: string.char makes one string of them, where four would be made and thrown away.
local function word(n)
  local d = n % 256
  n = (n - d) / 256
  local c = n % 256
  n = (n - c) / 256
  local b = n % 256
  return (n - b) / 256, b, c, d
end
local function lane_parts(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end
-- An id as messages carry it: ms (8 bytes), seq (4).
local function lane_wire(id)
  local ms, seq = lane_parts(id)
  return string.char(word(math.floor(ms / 4294967296))) .. string.char(word(ms % 4294967296)) .. string.char(word(seq))
end
-- An id as records carry it: ms<<20|seq in 8 bytes, made of two halves that are exact.
local function lane_stamp(id)
  local ms, seq = lane_parts(id)
  return string.char(word(math.floor(ms / 4096))) .. string.char(word((ms % 4096) * 1048576 + seq))
end
local function lane_last(stream)
  local newest = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)
  if #newest == 0 then return '0-0' end
  return newest[1][1]
end
-- Publishes. On a Cluster ('1') by sharded pub/sub where the server has it: classic pub/sub takes the cluster bus.
local function lane_publish(channel, message, sharded)
  if sharded == '1' then
    local reply = redis.pcall('SPUBLISH', channel, message)
    if type(reply) ~= 'table' then return end
    if not string.find(reply.err, 'nknown') then return redis.call('SPUBLISH', channel, message) end
  end
  redis.call('PUBLISH', channel, message)
end
-- Appends a message to the lane, publishes it with its place and that of the one before, and gives its id. In the message the bytes
-- 3 to 26 are kept free for the two places; the stream holds it without them.
local function lane_append(stream, channel, message, sharded)
  local prev = lane_last(stream)
  local head, tail = string.sub(message, 1, 2), string.sub(message, 27)
  local id = redis.call('XADD', stream, 'MAXLEN', '~', LANE_MAXLEN, '*', 'm', head .. tail)
  lane_publish(channel, head .. lane_wire(prev) .. lane_wire(id) .. tail, sharded)
  return id
end
