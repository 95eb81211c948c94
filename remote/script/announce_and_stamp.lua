-- Announces a change. ARGV begins with channel and message; KEYS[2] and KEYS[3] are the lane's
-- stream and floors. Returns the id, whole and in its two parts, or '' if there is nothing to
-- announce.
--
-- The announcement comes before the change. No instance sees one without the other in either order.
-- But a script's writes stay if a later command of it is denied, and an announcement without a
-- change is better than a change without an announcement.
--
-- If Redis is out of memory, it refuses the first command that needs memory, and with it the
-- script, unless the script has written before. A script that must work then begins with a PERSIST
-- of the stream, which writes nothing.
local function announce()
  if ARGV[2] == '' then return '' end
  return lane_append(KEYS[2], KEYS[3], ARGV[1], ARGV[2], '')
end
-- Returns the record with the id of its announcement as its stamp: ms<<20|seq in 8 bytes, made of
-- two halves that are exact. If nothing was announced, the id has no parts, and the record stays as
-- it is.
local function stamped(record, ms, seq)
  if not ms then return record end
  return string.sub(record, 1, 17) .. pack('>I4I4', math.floor(ms / 4096), (ms % 4096) * 1048576 + seq) .. string.sub(record, 26)
end
