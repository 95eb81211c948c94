-- Replies with the version of a tag. It is created on first use, and lasts at least as long as the
-- entry that is about to have the tag.
-- ARGV: version to begin with, milliseconds (0: without end)
local v = redis.pcall('GET', KEYS[1])
if type(v) == 'table' then
  if not string.find(v.err, 'WRONGTYPE', 1, true) then return v end
  v = false -- it is replaced: entries with the tag are invalid then
end
if not v or #v ~= 16 then
  store(KEYS[1], ARGV[1], ARGV[2])
  return ARGV[1]
end
raise_ttl(KEYS[1], ARGV[2])
return v
