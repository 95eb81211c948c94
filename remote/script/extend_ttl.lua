-- Makes the key last at least so long. ARGV: milliseconds (0: without end)
return raise_ttl(KEYS[1], ARGV[1])
