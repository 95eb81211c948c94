-- The parts of a record that decide whether it is an entry. It follows header.lua.
local function word(s, first)
  local a, b, c, d = string.byte(s, first, first + 3)
  return ((a * 256 + b) * 256 + c) * 256 + d
end
local function duration(s, first)
  local n = word(s, first)
  if n >= 2147483648 then return (n - 2147483648) * 1000 end
  return n
end
-- Reports whether the stamp in header h is below the stamp id. Both have 8 bytes. They are compared
-- by halves, since a double would lose the last bits.
local ZERO = '\0\0\0\0\0\0\0\0'
local function older(h, id)
  if id == ZERO then return false end
  local high, limit = word(h, 18), word(id, 1)
  if high ~= limit then return high < limit end
  return word(h, 22) < word(id, 5)
end
-- Reports whether the header h of a key is that of no entry: there is no record, or a lease, a
-- negative record, a value past its TTL, or one with a stamp below the floor. A record of another
-- version is an entry. A value has expired when Redis has removed it, or when Redis keeps it for no
-- more than its grace: only the clock of Redis matters.
local function absent(h, floor, key)
  if #h == 0 then return true end
  if not known(h) then return false end
  local kind = string.byte(h, 1)
  if kind == 1 or kind == 3 then return true end
  if kind ~= 2 then return false end
  if older(h, floor) then return true end
  local grace = duration(h, 44)
  if grace == 0 then return false end
  local left = redis.call('PTTL', key)
  return left >= 0 and left <= grace
end
-- Reports whether a header of this version is that of a record with tags.
local function tagged(h) return math.floor(string.byte(h, 43) / 2) % 2 == 1 end
