-- ARGV: channel, message, record, milliseconds
local id, ms, seq = announce()
store(KEYS[1], dated(stamped(ARGV[3], ms, seq)), ARGV[4])
return {1, id}
