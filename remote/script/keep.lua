-- ARGV: milliseconds (0: for ever)
return keep(KEYS[1], ARGV[1])
