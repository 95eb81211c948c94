-- ARGV: channel, message, record, milliseconds
local id = announce()
put(KEYS[1], stamped(ARGV[3], id), ARGV[4])
return {1, id}
