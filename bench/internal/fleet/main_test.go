package fleet

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/doppio-cache/doppio/bench/internal/instance"
)

// The test binary is an instance too, of several kinds, by its first argument.
var instanceKinds = map[string]openCache{
	InstanceCommand: openItems,
	"lying":         func(instanceConfig) (cache, error) { return &fake{held: map[string]instance.Item{}}, nil },
	"none":          func(instanceConfig) (cache, error) { return &fake{}, nil },
	"refusing":      func(instanceConfig) (cache, error) { return &fake{refuse: true}, nil },
	"dying":         func(instanceConfig) (cache, error) { return &fake{dieOn: 50}, nil },
	"deaf":          func(instanceConfig) (cache, error) { return &fake{deaf: true}, nil },
	"clumsy":        func(instanceConfig) (cache, error) { return &fake{clumsy: true}, nil },
	"broken":        func(instanceConfig) (cache, error) { return nil, fmt.Errorf("broken by intention") },
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
	// With the race detector every process waits for a second before it exits, unless it is told not to: instances need not.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// fake is a cache that holds nothing, and so cannot lie; or one that holds on to all it ever loaded, and does.
type fake struct {
	refuse bool
	dieOn  int  // the read in which to exit
	deaf   bool // it says that it is coherent, and never applies a change
	clumsy bool // it cannot be closed

	mu    sync.Mutex
	held  map[string]instance.Item // guarded by mu; nil: hold nothing
	reads int                      // guarded by mu
}

func (f *fake) Ready(context.Context) error { return nil }

func (f *fake) Get(ctx context.Context, key string, load func(context.Context) (instance.Item, error)) (instance.Item, instance.Answer, error) {
	begin := time.Now()
	f.mu.Lock()
	if f.reads++; f.reads == f.dieOn {
		os.Exit(7)
	}
	item, ok := f.held[key]
	f.mu.Unlock()
	if f.refuse {
		return item, instance.Answer{}, fmt.Errorf("refused by intention")
	}
	if ok {
		return item, instance.Answer{Begin: begin, Took: time.Since(begin), Tier: instance.Near}, nil
	}
	item, err := load(ctx)
	if err == nil && f.held != nil {
		f.mu.Lock()
		f.held[key] = item
		f.mu.Unlock()
	}
	return item, instance.Answer{Begin: begin, Took: time.Since(begin), Tier: instance.Load}, err
}

func (f *fake) change(context.Context, Change, string, instance.Item) (uint64, error) { return 1, nil }
func (f *fake) state() state                                                          { return state{coherent: true} }

func (f *fake) applied() uint64 {
	if f.deaf {
		return 0
	}
	return 1
}

func (f *fake) Close() error {
	if f.clumsy {
		return fmt.Errorf("clumsy by intention")
	}
	return nil
}
