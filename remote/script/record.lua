-- The parts of a record that scripts look at; see docs/architecture.md. Offsets count from 1.
local HEADER = 51
local function number(s, first, size)
  local n = 0
  for i = first, first + size - 1 do n = n * 256 + string.byte(s, i) end
  return n
end
local function duration(s, first)
  local n = number(s, first, 4)
  if n >= 2147483648 then return (n - 2147483648) * 1000 end
  return n
end
-- Whether s begins with a header of this version.
local function known(s) return #s >= HEADER and string.byte(s, 42) == 1 end
-- Whether the stamp in header h is below the stamp id. Both have 8 bytes: they are compared by halves, since a double would lose the last bits.
local ZERO = string.rep(string.char(0), 8)
local function older(h, id)
  if id == ZERO then return false end
  local high, limit = number(h, 18, 4), number(id, 1, 4)
  if high ~= limit then return high < limit end
  return number(h, 22, 4) < number(id, 5, 4)
end
-- Whether the header h stands for no entry, as users see it, at the time now (Unix ms): nothing, a lease, a negative, a value past its soft
-- TTL, or one with a stamp below the floor. What is not a record of this version is an entry that cannot be read.
local function absent(h, now, floor)
  if #h == 0 then return true end
  if not known(h) then return false end
  local kind = string.byte(h, 1)
  if kind == 1 or kind == 3 then return true end
  if kind ~= 2 then return false end
  if older(h, floor) then return true end
  local ttl = duration(h, 34)
  return ttl > 0 and number(h, 26, 8) + ttl <= tonumber(now)
end
-- Whether the header h is that of a lease which somebody waits for.
local function awaited(h) return known(h) and string.byte(h, 1) == 1 and math.floor(string.byte(h, 43) / 4) % 2 == 1 end
-- Whether a header of this version belongs to a record with tags.
local function tagged(h) return math.floor(string.byte(h, 43) / 2) % 2 == 1 end
local function put(key, record, px)
  if px == '0' then redis.call('SET', key, record) else redis.call('SET', key, record, 'PX', px) end
end
-- Makes key, if it is there, last at least px milliseconds ('0': for ever). One without an end keeps none.
local function keep(key, px)
  local left = redis.call('PTTL', key)
  if left < 0 then return 0 end
  if px == '0' then return redis.call('PERSIST', key) end
  if left < tonumber(px) then return redis.call('PEXPIRE', key, px) end
  return 0
end
-- The payload of record s if the echo of key stands right before it, else nil.
local function payload(s, key)
  if not known(s) then return nil end
  local first = #s - number(s, 48, 4) + 1
  local echo = first - #key
  if echo - 2 < HEADER + 3 or number(s, echo - 2, 2) ~= #key or string.sub(s, echo, first - 1) ~= key then return nil end
  return string.sub(s, first)
end
