package replay

import (
	"fmt"
	"runtime"
	"time"

	"github.com/Yiling-J/theine-go"
	"github.com/dgraph-io/ristretto/v2"
	rediscache "github.com/go-redis/cache/v9"
	"github.com/maypok86/otter/v2"
	"github.com/viccon/sturdyc"
)

// forever is the TTL of those that want one. Replays take seconds.
const forever = 1000 * time.Hour

// pace is how long a paced cache is given after every miss, besides a Wait until it has applied the write: Wait does not
// wait for the counts of reads, which another goroutine applies.
const pace = 20 * time.Microsecond

// bareRistretto is configured as its documentation asks: ten counters an entry, a cost of 1 each.
type bareRistretto struct {
	cache *ristretto.Cache[string, uint32]
	paced bool
}

func openRistretto(size int) (store, error)      { return newBareRistretto(size, false) }
func openPacedRistretto(size int) (store, error) { return newBareRistretto(size, true) }

func newBareRistretto(size int, paced bool) (store, error) {
	c, err := ristretto.NewCache(&ristretto.Config[string, uint32]{
		NumCounters: int64(size) * 10, MaxCost: int64(size), BufferItems: 64, IgnoreInternalCost: true,
	})
	if err != nil {
		return nil, fmt.Errorf("replay: ristretto: %w", err)
	}
	return bareRistretto{c, paced}, nil
}

func (r bareRistretto) get(name string) bool { _, ok := r.cache.Get(name); return ok }

func (r bareRistretto) set(name string) {
	r.cache.Set(name, 0, 1)
	if !r.paced {
		return
	}
	r.cache.Wait()
	for began := time.Now(); time.Since(began) < pace; {
		runtime.Gosched()
	}
}

func (r bareRistretto) close() error { r.cache.Close(); return nil }

type bareOtter struct{ cache *otter.Cache[string, uint32] }

func openOtter(size int) (store, error) {
	c, err := otter.New(&otter.Options[string, uint32]{MaximumSize: size})
	if err != nil {
		return nil, fmt.Errorf("replay: otter: %w", err)
	}
	return bareOtter{c}, nil
}

func (o bareOtter) get(name string) bool { _, ok := o.cache.GetIfPresent(name); return ok }
func (o bareOtter) set(name string)      { o.cache.Set(name, 0) }
func (o bareOtter) close() error         { o.cache.CleanUp(); o.cache.StopAllGoroutines(); return nil }
func (o bareOtter) held() int            { return o.cache.EstimatedSize() }

type theineStore struct{ cache *theine.Cache[string, uint32] }

func openTheine(size int) (store, error) {
	c, err := theine.NewBuilder[string, uint32](int64(size)).Build()
	if err != nil {
		return nil, fmt.Errorf("replay: theine: %w", err)
	}
	return theineStore{c}, nil
}

func (t theineStore) get(name string) bool { _, ok := t.cache.Get(name); return ok }
func (t theineStore) set(name string)      { t.cache.Set(name, 0, 1) }
func (t theineStore) close() error         { t.cache.Close(); return nil }

type sturdycStore struct{ cache *sturdyc.Client[uint32] }

// openSturdyc takes the shards and the share of evictions from sturdyc's README, but one shard for a small cache, lest
// chance fill one shard and not another.
func openSturdyc(size int) (store, error) {
	const shards, evictionPercentage, small = 10, 10, 1000
	n := shards
	if size < small {
		n = 1
	}
	// Its sweeper of expired entries never ends, and there is none to sweep.
	return sturdycStore{sturdyc.New[uint32](size, n, forever, evictionPercentage, sturdyc.WithNoContinuousEvictions())}, nil
}

func (s sturdycStore) get(name string) bool { _, ok := s.cache.Get(name); return ok }
func (s sturdycStore) set(name string)      { s.cache.Set(name, 0) }
func (s sturdycStore) close() error         { return nil }

type tinyLFU struct{ cache *rediscache.TinyLFU }

// tinyLFULeast is the smallest size at which it does not panic: below, the protected part of its segmented LRU has room
// for no entry, and the second hit of a key asks for that part's last one.
const tinyLFULeast = 3

func openTinyLFU(size int) (store, error) {
	return tinyLFU{rediscache.NewTinyLFU(size, forever)}, nil
}

// one is what every key has: values do not matter here.
var one = []byte{1}

func (t tinyLFU) get(name string) bool { _, ok := t.cache.Get(name); return ok }
func (t tinyLFU) set(name string)      { t.cache.Set(name, one) }
func (t tinyLFU) close() error         { return nil }
