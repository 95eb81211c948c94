// Package patient bounds how long a Redis client waits for a server that says nothing.
package patient

import (
	"time"

	"github.com/redis/go-redis/v9"
)

// Bound gives a client that gives up a read or write after timeout where rdb never does (ReadTimeout or WriteTimeout
// below 0): go-redis heeds a context's cancellation only before it has sent a command, so a server that hangs would keep
// the call, its goroutine and its connection until the connection breaks. The client shares the pool and the hooks of
// rdb. A Cluster's client is given back as it is.
func Bound(rdb redis.UniversalClient, timeout time.Duration) redis.UniversalClient {
	c, ok := rdb.(*redis.Client)
	if !ok || c == nil {
		return rdb
	}
	if o := c.Options(); o.ReadTimeout > 0 && o.WriteTimeout > 0 {
		return rdb
	}
	return c.WithTimeout(timeout)
}
