-- Makes key, if it is there, last at least px milliseconds ('0': for ever). One without an end keeps none.
local function keep(key, px)
  local left = redis.call('PTTL', key)
  if left < 0 then return 0 end
  if px == '0' then return redis.call('PERSIST', key) end
  if left < tonumber(px) then return redis.call('PEXPIRE', key, px) end
  return 0
end
