-- Makes the key, if it is there, last at least px milliseconds ('0': without end). A key without
-- end stays so.
local function raise_ttl(key, px)
  local left = redis.call('PTTL', key)
  if left < 0 then return 0 end
  if px == '0' then return redis.call('PERSIST', key) end
  if left < tonumber(px) then return redis.call('PEXPIRE', key, px) end
  return 0
end
