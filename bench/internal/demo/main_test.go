package demo

import (
	"context"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/doppio-cache/doppio/bench/internal/instance/instancetest"
)

// The test binary is an instance too, of several kinds, by its first argument.
var instanceKinds = map[string]openCache{
	InstanceCommand: openItems,
	"none":          func(cfg instanceConfig) (cache, error) { return &fake{}, nil },
	"lying":         func(cfg instanceConfig) (cache, error) { return &fake{instancetest.Cache{Holds: true}}, nil },
	"dying":         func(cfg instanceConfig) (cache, error) { return &fake{instancetest.Cache{DieOn: 100}}, nil },
	"refusing":      func(cfg instanceConfig) (cache, error) { return &fake{instancetest.Cache{Refuse: true}}, nil },
	"broken":        func(cfg instanceConfig) (cache, error) { return nil, fmt.Errorf("broken by intention") },
}

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		if open, ok := instanceKinds[os.Args[1]]; ok {
			if err := runInstance(context.Background(), os.Stdin, os.Stdout, open); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	goleak.VerifyTestMain(m)
}

// fake is a cache that hears of nothing.
type fake struct{ instancetest.Cache }

func (f *fake) invalidate(context.Context, string) error { return nil }
func (f *fake) received() (int64, int64)                 { return 0, 0 }
func (f *fake) commands() int64                          { return 0 }
