package peers

import (
	"context"
	"testing"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/doppio-cache/doppio/internal/redistest"
)

// server is that of all tests. Each subject of each test has a namespace of its own on it.
var server *redistest.Server

// sturdyc's goroutine, which cannot be stopped, is not started, and the others end theirs. Only two are excused: go-redis, once it
// could not dial, looks once a second whether its pool is closed; rueidis tries every server as a Cluster first, and the client
// that it tried and closed sleeps for up to a second before it sees that.
func TestMain(m *testing.M) {
	redis.SetLogger(quiet{})
	goleak.VerifyTestMain(redistest.Shared(m, func(h redistest.Host) { server = redistest.Start(h) }),
		goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"),
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*call).DelayDo.func1"))
}

// quiet keeps go-redis's complaints about what is closed out of the output.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}
