-- Replies with the floors of a lane. KEYS: stream, floors
return lane_floors(KEYS[1], KEYS[2])
