-- Replies with a page of a lane and the lane's newest id. The page begins with a given id.
-- KEYS: the lane's stream. ARGV: the id, '' if none is known; how many entries at most.
--
-- A script, and not XRANGE, since a client may be told to read from replicas, and those may lag.
local last = lane_last(KEYS[1])
local from = ARGV[1]
if from == '' then return {last} end
local found = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', ARGV[2])
local length = redis.call('XLEN', KEYS[1])
if from == '0-0' then
  -- All of the lane follows, unless its beginning may have been trimmed.
  if length >= LANE_MAXLEN then return {last, 'trimmed'} end
elseif #found == 0 or found[1][1] ~= from then
  -- Trimming removes the oldest entries and leaves at least LANE_MAXLEN. If an older entry is
  -- there, or fewer entries are left, the id was not trimmed: the history was lost.
  local older = redis.call('XREVRANGE', KEYS[1], from, '-', 'COUNT', 1)
  if length >= LANE_MAXLEN and #older == 0 then return {last, 'trimmed'} end
  return {last, 'lost'}
end
local page = {}
for i, entry in ipairs(found) do
  page[2 * i - 1] = entry[1]
  page[2 * i] = entry[2][2]
end
return {last, 'found', page}
