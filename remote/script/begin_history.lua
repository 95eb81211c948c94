-- Sets the floor of all caches where the histories of the lane part, and replies with it. It is for
-- a caller that has noticed a loss itself, and knows the last id of the old history and the floor
-- of that time. All callers find the same place, however late.
-- KEYS: stream, floors. ARGV: channel, the caller's opening message, '1' on a Cluster, last id of
-- the old history
local now = lane_floor_named(KEYS[1], KEYS[2], '*')
local floor, floorSeq = lane_parts(now)
if lane_later(floor, floorSeq, lane_place(ARGV[2], 15)) then return now end -- the history began with it, or another caller was first
redis.call('PERSIST', KEYS[1]) -- works without memory: see announce_and_stamp.lua
lane_last(KEYS[1]) -- removes a lane that has no room for ids
local first = lane_own('XRANGE', KEYS[1], '(' .. ARGV[4], '+', 'COUNT', 1)[1]
if not first then
  first = {(lane_append(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3]))}
  local begun = lane_floor_named(KEYS[1], KEYS[2], '*')
  if begun and begun ~= now then return begun end
end
local ms, seq = lane_parts(first[1])
if not lane_later(ms, seq, floor, floorSeq) then return now end
redis.call('HSET', KEYS[2], '*', first[1])
if lane_later(ms, seq, lane_parts(lane_floor_named(KEYS[1], KEYS[2], '!'))) then redis.call('HSET', KEYS[2], '!', first[1]) end
return first[1]
