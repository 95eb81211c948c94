-- Announces what changes nothing here. ARGV: channel, message, '1' on a Cluster
despite_oom(KEYS[1])
return lane_append(KEYS[1], ARGV[1], ARGV[2], ARGV[3])
