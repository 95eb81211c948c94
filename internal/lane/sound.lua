-- What stands in a lane's keys and is none of this library's: another type, ids that no record can keep, floors without end. A lane that
-- is of no use is removed, which is a lost history, and noticed like any other. Nobody has to delete a key by hand.

-- Runs a command on a key of ours. What is there of another type is removed first, and so is a stream that takes no id any more.
local function lane_own(command, key, ...)
  local reply = redis.pcall(command, key, ...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  for _, why in ipairs({'WRONGTYPE', 'equal or smaller', 'exhausted'}) do
    if string.find(reply.err, why, 1, true) then redis.call('UNLINK', key) end
  end
  return redis.call(command, key, ...)
end
-- The lane's last id, '0-0' for none. An id with which a lane cannot go on, since those after it would not fit into a record, takes the lane
-- with it. Nothing is removed otherwise: a script that has written once is not refused when Redis is out of memory.
local function lane_last(stream)
  local newest = lane_own('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  if not newest then return '0-0' end
  local ms, seq = string.match(newest[1], '^(%d+)-(%d+)$')
  if tonumber(ms) + tonumber(seq) / 1048576 < 17500000000000 then return newest[1] end
  redis.call('UNLINK', stream)
  return '0-0'
end
-- How many floors a lane keeps, and how many bytes they may have. Where there are more, one at the lane's end takes the place of all.
local LANE_FLOORS, LANE_FLOOR_BYTES = 16384, 4194304
local function lane_one_floor(stream, floors)
  redis.call('UNLINK', floors)
  local last = lane_last(stream)
  if last ~= '0-0' then redis.call('HSET', floors, '*', last, '!', last) end
end
-- One of a lane's floors, false for none. Nobody knows what the floors were that stood there before another type: one takes their place.
local function lane_floor_named(stream, floors, name)
  local reply = redis.pcall('HGET', floors, name)
  if type(reply) ~= 'table' then return reply end
  if string.find(reply.err, 'WRONGTYPE', 1, true) then lane_one_floor(stream, floors) end
  return redis.call('HGET', floors, name)
end
-- All of a lane's floors: names and ids by turns.
local function lane_floors(stream, floors)
  lane_floor_named(stream, floors, '!')
  local all, bytes = redis.call('HGETALL', floors), 0
  for _, text in ipairs(all) do bytes = bytes + #text end
  if #all <= 2 * LANE_FLOORS and bytes <= LANE_FLOOR_BYTES then return all end
  lane_one_floor(stream, floors)
  return redis.call('HGETALL', floors)
end
