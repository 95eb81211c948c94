-- Replies with the header and the remaining TTL, at one moment.
return {redis.call('GETRANGE', KEYS[1], 0, HEADER - 1), redis.call('PTTL', KEYS[1])}
