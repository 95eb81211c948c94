-- Announces what a change's script was given to announce: ARGV begins with channel and message, KEYS[2] is the lane's stream. Gives the id, '' where
-- there is nothing to announce. It comes before the change: nobody sees one without the other either way, but what a script has written stays
-- written when a later command of it is denied, and a change that is not announced is worse than the announcement of none. And where Redis
-- is out of memory, it refuses the first command that needs some, and with it the whole script.
local function announce()
  if ARGV[2] == '' then return '' end
  return lane_append(KEYS[2], ARGV[1], ARGV[2], '')
end
-- Comes first in what must work when Redis is out of memory. A script that has written is not refused later, and this writes nothing.
local function despite_oom(stream) redis.call('PERSIST', stream) end
-- The record with the id of its announcement as its stamp.
local function stamped(record, id)
  if id == '' then return record end
  return string.sub(record, 1, 17) .. lane_stamp(id) .. string.sub(record, 26)
end
