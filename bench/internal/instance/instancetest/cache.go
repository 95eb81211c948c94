// Package instancetest has a stand-in for the cache of an instance, by which the commands check how they judge one.
package instancetest

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/doppio-cache/doppio/bench/internal/instance"
)

// Cache holds nothing, and so cannot lie; or it holds on to all it ever loaded, and does.
type Cache struct {
	Holds  bool // on to all it ever loaded
	Refuse bool // to answer
	DieOn  int  // the read in which the process exits, with ExitCode
	Spoil  int  // so many reads, the first, get what is no value of their keys

	mu    sync.Mutex
	held  map[string]instance.Item // guarded by mu
	reads int                      // guarded by mu
}

// ExitCode is that of a process whose cache was to die.
const ExitCode = 7

// ErrRefused is what a cache says that refuses.
var ErrRefused = errors.New("refused by intention")

// Ready does nothing.
func (c *Cache) Ready(context.Context) error { return nil }

// Get gives what is held, which counts as near, or what load gives.
func (c *Cache) Get(ctx context.Context, key string, load func(context.Context) (instance.Item, error)) (instance.Item, instance.Answer, error) {
	begin := time.Now()
	c.mu.Lock()
	if c.reads++; c.reads == c.DieOn {
		os.Exit(ExitCode)
	}
	item, ok := c.held[key]
	spoilt := c.reads <= c.Spoil
	c.mu.Unlock()
	switch {
	case c.Refuse:
		return item, instance.Answer{}, ErrRefused
	case spoilt:
		return instance.Item{}, instance.Answer{Begin: begin, Took: time.Since(begin), Tier: instance.Far}, nil
	}
	if ok {
		return item, instance.Answer{Begin: begin, Took: time.Since(begin), Tier: instance.Near}, nil
	}
	item, err := load(ctx)
	if err == nil && c.Holds {
		c.hold(key, item)
	}
	return item, instance.Answer{Begin: begin, Took: time.Since(begin), Tier: instance.Load}, err
}

func (c *Cache) hold(key string, item instance.Item) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held == nil {
		c.held = make(map[string]instance.Item)
	}
	c.held[key] = item
}

// Close does nothing.
func (c *Cache) Close() error { return nil }
