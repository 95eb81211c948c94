-- Stores a record for so many milliseconds ('0': without end).
local function store(key, record, px)
  if px == '0' then redis.call('SET', key, record) else redis.call('SET', key, record, 'PX', px) end
end
