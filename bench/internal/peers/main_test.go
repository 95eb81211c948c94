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

// sturdyc's goroutine, which cannot be stopped, is not started, and the others end theirs. Only go-redis is excused: once it
// could not dial, it looks once a second whether its pool is closed.
func TestMain(m *testing.M) {
	redis.SetLogger(quiet{})
	goleak.VerifyTestMain(redistest.Shared(m, func(h redistest.Host) { server = redistest.Start(h) }),
		goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// quiet keeps go-redis's complaints about what is closed out of the output.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}
