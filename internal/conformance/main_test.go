package conformance

import (
	"context"
	"flag"
	"os"
	"testing"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/doppio-cache/doppio/internal/redistest"
)

// host owns the servers and the clients of all tests: they start when first asked for, and end before goleak looks.
var host redistest.Host

func TestMain(m *testing.M) {
	redis.SetLogger(quiet{})
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		// Rows wait for servers more than they compute.
		if err := flag.Set("test.parallel", "8"); err != nil {
			os.Exit(2)
		}
	}
	goleak.VerifyTestMain(redistest.Shared(m, func(h redistest.Host) {
		host = h
	}))
}

// quiet keeps go-redis's account of the failover out of the output.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}
