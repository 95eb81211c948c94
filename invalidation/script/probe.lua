-- Publishes an echo to one instance, and replies with what the lane has.
-- KEYS: how many lanes there are, the lane's stream, its floors.
-- ARGV: how many lanes the caller expects, its channel for echoes, its nonce, the newest floor that
-- it knows, '1' on a Cluster, the lane's channel, its opening message.

-- The first command is a write, though it changes nothing: a replica, and a master that may not
-- write, must not answer. SET would be refused when Redis is out of memory, when invalidations are
-- not.
redis.call('PERSIST', KEYS[1])
local count = lane_own('GET', KEYS[1])
if not count or not string.find(count, '^%d+$') then
  redis.call('SET', KEYS[1], ARGV[1])
  count = ARGV[1]
end
if count ~= ARGV[1] then return {count} end
local newest = lane_last(KEYS[2])
-- A lane in use is never empty: an empty one looks like one that was lost before any message of it
-- was received. If the lane ends before the newest id that the caller knows, its new history begins
-- here, unless it has begun already.
if newest == '0-0' or lane_behind(ARGV[7], lane_parts(newest)) > 0 then
  newest = lane_append(KEYS[2], KEYS[3], ARGV[6], ARGV[7], ARGV[5])
end
local floor = lane_floor_named(KEYS[2], KEYS[3], '!') or '0-0'
-- A floor that is not an id counts as none: the echo must stay readable, and the next raise
-- replaces it.
local ms = string.match(floor, '^(%d+)%-%d+$')
if not ms or tonumber(ms) >= 17592186044416 then floor = '0-0' end
local floors
if floor ~= ARGV[4] then floors = lane_floors(KEYS[2], KEYS[3]) end
lane_publish(ARGV[2], ARGV[3] .. ' ' .. newest .. ' ' .. floor, ARGV[5])
return {count, newest, floor, floors}
