-- Publishes outside the lane. ARGV: channel, message, '1' on a Cluster
lane_publish(ARGV[1], ARGV[2], ARGV[3])
return 1
