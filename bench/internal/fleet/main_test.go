package fleet

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// The test binary is an instance too, of several kinds, by its first argument.
var instanceKinds = map[string]openCache{
	InstanceCommand: openItems,
	"lying":         func(instanceConfig) (cache, error) { return &fake{holds: true}, nil },
	"none":          func(instanceConfig) (cache, error) { return &fake{}, nil },
	"refusing":      func(instanceConfig) (cache, error) { return &fake{refuse: true}, nil },
	"dying":         func(instanceConfig) (cache, error) { return &fake{dieOn: 50}, nil },
	"deaf":          func(instanceConfig) (cache, error) { return &fake{deaf: true}, nil },
	"lonely":        func(instanceConfig) (cache, error) { return &fake{lonely: true}, nil },
	"clumsy":        func(instanceConfig) (cache, error) { return &fake{clumsy: true}, nil },
	"spoiling":      func(instanceConfig) (cache, error) { return &fake{spoil: 3}, nil },
	"dropping":      func(instanceConfig) (cache, error) { return &fake{dropping: true, opened: time.Now()}, nil },
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
	// With the race detector every process waits for a second before it exits, unless it is told
	// not to: instances need not.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// fake is a cache that holds nothing, and so cannot lie, and that knows of every change at once.
type fake struct {
	holds  bool // on to all it ever loaded, and so lies
	refuse bool // to answer
	dieOn  int  // the read in which the process exits, with exitCode
	spoil  int  // so many reads, the first, get what is no value of their keys
	deaf   bool // it says that it is coherent, and never applies a change
	clumsy bool // it cannot be closed
	lonely bool // it is coherent, and does not reach all of Redis

	dropping bool // the local tier is dropped for one reason before it is ready, and again and again for another
	opened   time.Time

	mu    sync.Mutex
	held  map[string]Item // guarded by mu
	reads int             // guarded by mu
}

// exitCode is that of a process whose cache was to die.
const exitCode = 7

func (f *fake) ready(context.Context) error { return nil }

// get gives what is held, which counts as local, or what load gives.
func (f *fake) get(ctx context.Context, key string, load func(context.Context) (Item, error)) (Item, answer, error) {
	begin := time.Now()
	f.mu.Lock()
	if f.reads++; f.reads == f.dieOn {
		os.Exit(exitCode)
	}
	item, ok := f.held[key]
	spoilt := f.reads <= f.spoil
	f.mu.Unlock()
	switch {
	case f.refuse:
		return item, answer{}, fmt.Errorf("refused by intention")
	case spoilt:
		return Item{}, answer{begin, time.Since(begin), Remote}, nil
	case ok:
		return item, answer{begin, time.Since(begin), Local}, nil
	}
	item, err := load(ctx)
	if err == nil && f.holds {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.held == nil {
			f.held = make(map[string]Item)
		}
		f.held[key] = item
	}
	return item, answer{begin, time.Since(begin), Load}, err
}

func (f *fake) change(context.Context, Change, string, Item) (uint64, error) { return 1, nil }

func (f *fake) state() state {
	s := state{coherent: true}
	if f.dropping {
		s.drops = map[string]uint64{firstSync: 1, "gap": 3, "trimmed": uint64(time.Since(f.opened) / (10 * time.Millisecond))}
	}
	return s
}

func (f *fake) reach(context.Context) error {
	if f.lonely {
		return fmt.Errorf("lonely by intention")
	}
	return nil
}

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
