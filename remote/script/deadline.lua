-- A change that stores something is not made when its caller has long given it up: what was asked for later may have been made meanwhile, and
-- be undone. The last of ARGV is the server's time after which that is so, in Unix ms ('' for never).
if ARGV[#ARGV] ~= '' then
  local now = server_ms()
  if now > tonumber(ARGV[#ARGV]) then return redis.error_reply('DOPPIO-LATE ' .. string.format('%.0f', now)) end
end
