package redistest_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/doppio-cache/doppio/internal/redistest"
)

// shared is one server for all tests of this package: it is what Shared is for.
var shared *redistest.Server

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(redistest.Shared(m, func(h redistest.Host) {
		shared = redistest.Start(h)
	}))
}
