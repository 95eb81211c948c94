-- The version of a tag, made on first use and kept at least as long as the entry that is about to carry it.
-- ARGV: version to begin with, milliseconds (0: for ever)
local v = redis.call('GET', KEYS[1])
if not v or #v ~= 16 then
  put(KEYS[1], ARGV[1], ARGV[2])
  return ARGV[1]
end
keep(KEYS[1], ARGV[2])
return v
