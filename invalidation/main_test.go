package invalidation

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/doppio-cache/doppio/internal/redistest"
)

var shared *redistest.Server

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(redistest.Shared(m, func(h redistest.Host) { shared = redistest.Start(h) }))
}
