package fleet

import (
	"context"
	"net"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// sent counts the commands that a client sends, those included that open a connection. What a script calls inside Redis is not
// sent. A command that is tried again counts once; one that a Cluster redirects, for each node that it goes to. What go-redis sends
// on a subscription it tells nobody.
type sent struct{ atomic.Uint64 }

// countSent makes a client count. It must not have been used yet.
func countSent(rdb redis.UniversalClient) *sent {
	s := new(sent)
	if c, ok := rdb.(*redis.ClusterClient); ok {
		c.OnNewNode(func(node *redis.Client) { node.AddHook(s) }) // what a Cluster's client is asked is not what it sends
	} else {
		rdb.AddHook(s)
	}
	return s
}

func (s *sent) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (s *sent) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		s.Add(1)
		return next(ctx, cmd)
	}
}

func (s *sent) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		s.Add(uint64(len(cmds)))
		return next(ctx, cmds)
	}
}
