-- A change that stores something is not made after its deadline, when its caller has given it up: a
-- later change may have been made meanwhile, and would be undone. The last of ARGV is the deadline
-- by the server's clock, in Unix ms ('' for none).
if ARGV[#ARGV] ~= '' then
  local now = server_ms()
  if now > tonumber(ARGV[#ARGV]) then return redis.error_reply('DOPPIO-LATE ' .. string.format('%.0f', now)) end
end
