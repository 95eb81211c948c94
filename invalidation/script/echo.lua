-- Lets one instance hear itself over its subscription, and replies what the lane has.
-- KEYS: how many lanes there are, the lane's stream, its floors.
-- ARGV: how many lanes the caller thinks there are, its echo channel, its nonce, the newest floor it knows, '1' on a Cluster, the lane's channel,
-- a message that says nothing but what the caller knows.

-- A write first, though it changes nothing: a replica, and a master that may not write, must not answer. SET would be
-- refused when Redis is out of memory, when invalidations are not.
redis.call('PERSIST', KEYS[1])
local count = lane_own('GET', KEYS[1])
if not count or not string.find(count, '^%d+$') then
  redis.call('SET', KEYS[1], ARGV[1])
  count = ARGV[1]
end
if count ~= ARGV[1] then return {count} end
local last = lane_last(KEYS[2])
-- A lane in use is never empty: an empty one could not be told from one that was lost before anything was heard of it. And
-- where the lane ends before what the caller knows, its new history begins here, unless it has begun already.
if last == '0-0' or lane_behind(ARGV[7], lane_parts(last)) > 0 then
  last = lane_append(KEYS[2], KEYS[3], ARGV[6], ARGV[7], ARGV[5])
end
local newest = lane_floor_named(KEYS[2], KEYS[3], '!') or '0-0'
-- What is not an id stands for none: the echo must stay readable, and the next raise replaces it.
local ms = string.match(newest, '^(%d+)%-%d+$')
if not ms or tonumber(ms) >= 17592186044416 then newest = '0-0' end
local floors
if newest ~= ARGV[4] then floors = lane_floors(KEYS[2], KEYS[3]) end
lane_publish(ARGV[2], ARGV[3] .. ' ' .. last .. ' ' .. newest, ARGV[5])
return {count, last, newest, floors}
