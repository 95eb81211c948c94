-- A change that stores something is not made when its caller has long given it up: what was asked for later may have been made meanwhile, and
-- be undone. The last of ARGV is the server's time after which that is so, in Unix ms ('' for never).
if ARGV[#ARGV] ~= '' then
  local t = redis.call('TIME')
  local now = t[1] * 1000 + (t[2] - t[2] % 1000) / 1000
  if now > tonumber(ARGV[#ARGV]) then return redis.error_reply('DOPPIO-LATE ' .. string.format('%.0f', now)) end
end
