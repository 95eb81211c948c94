-- Announces what a change's script was given to announce: ARGV begins with channel and message, KEYS[2] and
-- KEYS[3] are the lane's stream and floors. Gives the id, whole and
-- its two parts, '' where there is nothing to announce. It comes before the change: nobody sees one without the other either way, but what a
-- script has written stays written when a later command of it is denied, and a change that is not announced is worse than the announcement of
-- none. And where Redis is out of memory, it refuses the first command that needs some, and with it the whole script: but for one that has
-- written before, so what must work then begins with a PERSIST of the stream, which writes nothing.
local function announce()
  if ARGV[2] == '' then return '' end
  return lane_append(KEYS[2], KEYS[3], ARGV[1], ARGV[2], '')
end
-- The record with the id of its announcement as its stamp: ms<<20|seq in 8 bytes, made of two halves that are exact. Where nothing was
-- announced there are no parts of an id, and it stays as it is.
local function stamped(record, ms, seq)
  if not ms then return record end
  return string.sub(record, 1, 17) .. pack('>I4I4', math.floor(ms / 4096), (ms % 4096) * 1048576 + seq) .. string.sub(record, 26)
end
