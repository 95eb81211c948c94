package topology

import (
	"context"
	"testing"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/doppio-cache/doppio/internal/redistest"
)

var shared *redistest.Server

func TestMain(m *testing.M) {
	redis.SetLogger(quiet{})
	goleak.VerifyTestMain(redistest.Shared(m, func(h redistest.Host) { shared = redistest.Start(h) }))
}

type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}
