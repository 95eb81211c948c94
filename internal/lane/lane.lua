-- A lane: see internal/lane. Ids cross Lua as text or as bytes, never as one number: Lua's are doubles, exact only to 2^53.
-- A run of a script makes every function anew, so that each costs every change a little.
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
-- The two parts of an id as numbers; 0 and 0 of what is no id, or past all that a record can keep. A record keeps 20 bits of
-- the second one, so what is beyond them is carried into the first, as Parse in internal/lane does it: ids keep their order,
-- since lane_append leaves room after such an id.
local LANE_SEQ = 1048576
local function lane_parts(id)
  local ms, seq = string.match(id or '', '^(%d+)-(%d+)$')
  ms, seq = tonumber(ms), tonumber(seq)
  if not ms or ms >= 17592186044416 then return 0, 0 end
  if seq < LANE_SEQ then return ms, seq end
  return ms + math.floor(seq / LANE_SEQ), seq % LANE_SEQ
end
-- Whether the first of two ids, each of two parts, is the later one.
local function lane_later(ms, seq, ms2, seq2) return ms > ms2 or ms == ms2 and seq > seq2 end
-- The id in a message whose 12 bytes begin at first: of ms 8 bytes, of which two are 0, and of seq 4.
local function lane_place(message, first)
  local a, b, c, d, e, f, w, x, y, z = string.byte(message, first + 2, first + 11)
  if not z then return 0, 0 end
  return ((((a * 256 + b) * 256 + c) * 256 + d) * 256 + e) * 256 + f, ((w * 256 + x) * 256 + y) * 256 + z
end
local function lane_now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
-- An id after the given one, and not before the server's time.
local function lane_after(ms, seq)
  local now = lane_now()
  if now > ms then return string.format('%.0f-0', now) end
  if seq >= LANE_SEQ - 1 then return string.format('%.0f-0', ms + 1) end
  return string.format('%.0f-%.0f', ms, seq + 1)
end
-- Puts the floor of all caches, and so the newest one, at id.
local function lane_floor(floors, id) redis.call('HSET', floors, '*', id, '!', id) end
-- Appends one message, given without its places, and publishes it with them. Gives its id, whole and in parts.
local function lane_add(stream, channel, head, tail, sharded, at, before, beforeSeq)
  local id = lane_own('XADD', stream, 'MAXLEN', '~', LANE_MAXLEN, at, 'm', head .. tail)
  local ms, seq = lane_parts(id)
  lane_publish(channel, head .. pack('>I8I4I8I4', before, beforeSeq, ms, seq) .. tail, sharded)
  return id, ms, seq
end
-- The id that a sender knows past the lane's end, 0 and 0 for none: where there is one the server has lost what it had
-- acknowledged. One that is more than a day ahead of the server's time is not believed, or one forged message would move the
-- lane there for good.
local function lane_behind(message, before, beforeSeq)
  local known, knownSeq = lane_place(message, 3)
  if not lane_later(known, knownSeq, before, beforeSeq) or known > lane_now() + 86400000 then return 0, 0 end
  return known, knownSeq
end
-- Appends a message to the lane, publishes it with its place and that of the one before, and gives its id: whole, and its two
-- parts. In the message the bytes 3 to 26 are kept free for the two places, each of ms (8 bytes) and seq (4); the stream holds
-- it without them. The sender has put there what it knows: the newest id of the lane, and the floor of all caches.
--
-- A new history of the lane begins here where the lane ends before what the sender knows, or is empty. The floor of all caches is
-- put where the histories part, in this step: what the old one has left in the server lies below, and the change that is
-- announced here and all later ones lie above. A floor that the sender does not know says that the history has begun before. A
-- sender that knows nothing cannot tell a lane that was lost from one that is new: it puts no floor. Nor is one put where floors is
-- nil: while the lane's slot moves to another node of a Cluster, which has one of the keys and not the other.
-- Ids never go back for anybody who knows them, whatever the server's clock does.
local function lane_append(stream, floors, channel, message, sharded)
  local prev = lane_last(stream)
  local before, beforeSeq = lane_parts(prev)
  local head, tail = string.sub(message, 1, 2), string.sub(message, 27)
  local at, empty = '*', prev == '0-0'
  -- Where the clock was ahead for a moment, ids rise by their second part only. Once that has seven digits the next millisecond begins early.
  if #prev - string.find(prev, '-', 1, true) > 6 then at = string.format('%.0f-0', before + 1) end
  local known, knownSeq = lane_behind(message, before, beforeSeq)
  if empty or known > 0 then
    local floor, floorSeq = lane_parts(floors and lane_floor_named(stream, floors, '*'))
    local least, leastSeq = lane_parts(floors and lane_floor_named(stream, floors, '!'))
    if lane_later(known, knownSeq, least, leastSeq) then least, leastSeq = known, knownSeq end
    if lane_later(before, beforeSeq, least, leastSeq) then least, leastSeq = before, beforeSeq end
    at = lane_after(least, leastSeq)
    if floors and not empty and not lane_later(floor, floorSeq, lane_place(message, 15)) then
      -- A message that invalidates all that is older than itself: of type 3, without publisher and hashes.
      local id
      id, before, beforeSeq = lane_add(stream, channel, string.char(193, 3), string.rep('\0', 10), sharded, at, before, beforeSeq)
      lane_floor(floors, id)
      at = lane_after(before, beforeSeq)
    end
  end
  local id, ms, seq = lane_add(stream, channel, head, tail, sharded, at, before, beforeSeq)
  if floors and empty and known > 0 then lane_floor(floors, id) end
  return id, ms, seq
end
