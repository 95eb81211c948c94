-- Returns the server's time in Unix ms. The TTL of every record is counted from it, so the clocks
-- of two machines are never compared.
local function server_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + (t[2] - t[2] % 1000) / 1000
end
-- Returns the server's time as records have it, in 8 bytes.
local function stored_at()
  local ms, out = server_ms(), ''
  for _ = 1, 8 do
    out = string.char(ms % 256) .. out
    ms = math.floor(ms / 256)
  end
  return out
end
-- Returns the record with the server's time as the time of storing.
local function dated(record) return string.sub(record, 1, 25) .. stored_at() .. string.sub(record, 34) end
