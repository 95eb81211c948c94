-- A lane: see internal/lane. Ids cross Lua as text or as bytes, never as one number: Lua's are doubles, exact only to 2^53.
-- A run of a script makes every function anew, so there are few of them here.
local LANE_MAXLEN = 65536
-- Numbers as bytes, big-endian: as struct.pack does, which every Redis has. Test doubles may not.
local pack
if rawget(_G, 'struct') then
  pack = struct.pack
else
  pack = function(format, ...)
    local out, n = '', 0
    for size in string.gmatch(format, '%d') do
      n = n + 1
      local left, bytes = tonumber((select(n, ...))), ''
      for _ = 1, tonumber(size) do
        bytes = string.char(left % 256) .. bytes
        left = math.floor(left / 256)
      end
      out = out .. bytes
    end
    return out
  end
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
-- The two parts of an id as numbers. A record keeps 20 bits of the second one, so what is beyond them is carried into the first, as Parse in
-- internal/lane does it: ids keep their order, since lane_append leaves room after such an id.
local LANE_SEQ = 1048576
local function lane_parts(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  ms, seq = tonumber(ms), tonumber(seq)
  if seq < LANE_SEQ then return ms, seq end
  return ms + math.floor(seq / LANE_SEQ), seq % LANE_SEQ
end
-- Appends a message to the lane, publishes it with its place and that of the one before, and gives its id: whole, and its two
-- parts. In the message the bytes 3 to 26 are kept free for the two places, each of ms (8 bytes) and seq (4); the stream holds it without them.
local function lane_append(stream, channel, message, sharded)
  local prev = lane_last(stream)
  local before, beforeSeq = lane_parts(prev)
  local head, tail = string.sub(message, 1, 2), string.sub(message, 27)
  local at = '*'
  -- Where the clock was ahead for a moment, ids rise by their second part only. Once that has seven digits the next millisecond begins early.
  if #prev - string.find(prev, '-', 1, true) > 6 then at = string.format('%.0f-0', before + 1) end
  local id = lane_own('XADD', stream, 'MAXLEN', '~', LANE_MAXLEN, at, 'm', head .. tail)
  local ms, seq = lane_parts(id)
  lane_publish(channel, head .. pack('>I8I4I8I4', before, beforeSeq, ms, seq) .. tail, sharded)
  return id, ms, seq
end
