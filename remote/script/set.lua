-- ARGV: record, milliseconds, channel, message
announce(ARGV[3], ARGV[4])
put(KEYS[1], ARGV[1], ARGV[2])
return 1
