-- The version of a tag, made on first use and kept at least as long as the entry that is about to carry it.
-- ARGV: version to begin with, milliseconds (0: for ever)
local v = redis.pcall('GET', KEYS[1])
if type(v) == 'table' then
  if not string.find(v.err, 'WRONGTYPE', 1, true) then return v end
  v = false -- what is no version is replaced, of whatever type it is: entries that carry the tag are invalid then
end
if not v or #v ~= 16 then
  put(KEYS[1], ARGV[1], ARGV[2])
  return ARGV[1]
end
keep(KEYS[1], ARGV[2])
return v
