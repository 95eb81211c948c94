package tiered_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/doppio-cache/doppio/internal/redistest"
	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/tiered"
)

// register is one key in the source: its versions rise.
type register struct {
	writing   sync.Mutex // commits, and what is told to the cache about them, are in order
	committed atomic.Int64
	acked     atomic.Int64   // newest version that a change of the cache was acknowledged for, by anybody
	ackedBy   []atomic.Int64 // by instance
}

// checkerInstances, checkerKeys: few keys, so that everything happens to all of them at once.
const (
	checkerInstances = 4
	checkerKeys      = 5
)

// checker runs readers and writers on several instances and checks every read.
type checker struct {
	t         *testing.T
	caches    []*tiered.Cache[int64]
	remote    *tiered.Cache[int64]
	registers [checkerKeys]register
	history   []sync.Map // of each key: acknowledged version → when
	bound     time.Duration

	reads, writes, loads atomic.Int64
}

// This is the history checker: for each read of version v on an instance, v is at least the version
// that this instance had acknowledged when the read began (G3), at least the one that any instance had
// acknowledged MaxStaleness before (G2), and at most the one that was committed when it ended; and the
// remote tier holds at least the version that had been acknowledged (G1). Meanwhile the subscriptions
// are cut again and again.
func TestCoherence_everyReadIsFreshEnough(t *testing.T) {
	t.Parallel()
	for _, engine := range []local.EngineKind{local.Ristretto, local.Otter} {
		t.Run(engine.String(), func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			ns := namespace(t)
			const bound = 500 * time.Millisecond
			ck := &checker{t: t, bound: bound, history: make([]sync.Map, checkerKeys)}
			for i := range checkerKeys {
				ck.registers[i].ackedBy = make([]atomic.Int64, checkerInstances)
			}
			for range checkerInstances {
				c := coherent(t, server.Client(t), tiered.Options{
					Namespace: ns, MaxStaleness: bound, RetryBackoff: 20 * time.Millisecond, Local: local.Options{MaxEntries: 1000, Engine: engine},
				})
				ck.caches = append(ck.caches, newCache[int64](t, c, "c", tiered.CacheOptions{RefreshAhead: 30 * time.Millisecond, TTL: 60 * time.Millisecond}))
			}
			outside := newClient(t, server.Client(t), tiered.Options{Namespace: ns, WhenIncoherent: tiered.Bypass})
			ck.remote = newCache[int64](t, outside, "c", tiered.CacheOptions{LocalTTL: 1})

			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			var wg sync.WaitGroup
			for i := range checkerInstances {
				wg.Go(func() { ck.run(ctx, func() { ck.read(i) }) })
				wg.Go(func() { ck.run(ctx, func() { ck.read(i) }) })
				wg.Go(func() { ck.run(ctx, func() { ck.write(i) }) })
			}
			wg.Go(func() { ck.run(ctx, ck.readRemote) })
			killer := server.Client(t)
			for ctx.Err() == nil {
				check(t, killer.ClientKillByFilter(context.Background(), "TYPE", "pubsub").Err())
				select {
				case <-time.After(200 * time.Millisecond):
				case <-ctx.Done():
				}
			}
			wg.Wait()
			if ck.reads.Load() < 100 || ck.writes.Load() < 20 || ck.loads.Load() < 20 {
				t.Errorf("only %d reads, %d writes, %d loads: nothing was checked", ck.reads.Load(), ck.writes.Load(), ck.loads.Load())
			}
			t.Logf("%d reads, %d writes, %d loads", ck.reads.Load(), ck.writes.Load(), ck.loads.Load())
		})
	}
}

func (ck *checker) run(ctx context.Context, step func()) {
	for ctx.Err() == nil && !ck.t.Failed() {
		step()
	}
}

// load reads the source, takes its time, and gives what it read.
func (ck *checker) load(k int) func(context.Context) (int64, error) {
	return func(ctx context.Context) (int64, error) {
		ck.loads.Add(1)
		v := ck.registers[k].committed.Load()
		select {
		case <-time.After(rand.N(2 * time.Millisecond)):
			return v, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func (ck *checker) read(i int) {
	k := rand.N(checkerKeys)
	r, key := &ck.registers[k], fmt.Sprint(k)
	began := time.Now()
	own := r.ackedBy[i].Load()
	bounded := int64(0)
	ck.history[k].Range(func(version, at any) bool {
		if began.Sub(at.(time.Time)) > ck.bound {
			bounded = max(bounded, version.(int64))
		}
		return true
	})
	var got int64
	var err error
	switch rand.N(4) {
	case 0:
		got, err = ck.caches[i].Get(context.Background(), key)
		if errors.Is(err, tiered.ErrNotFound) {
			return
		}
	case 1:
		var m map[string]int64
		m, err = ck.caches[i].GetOrSetMany(context.Background(), []string{key}, func(ctx context.Context, _ []string) (map[string]int64, error) {
			v, err := ck.load(k)(ctx)
			return map[string]int64{key: v}, err
		})
		got = m[key]
	default:
		got, err = ck.caches[i].GetOrSet(context.Background(), key, ck.load(k))
	}
	ck.reads.Add(1)
	committed := r.committed.Load()
	switch {
	case err != nil:
		ck.t.Errorf("instance %d, key %d: %v", i, k, err)
	case got < own:
		ck.t.Errorf("instance %d, key %d: read %d after it had acknowledged %d", i, k, got, own)
	case got < bounded:
		ck.t.Errorf("instance %d, key %d: read %d though %d had been acknowledged more than %v before", i, k, got, bounded, ck.bound)
	case got > committed:
		ck.t.Errorf("instance %d, key %d: read %d, of which nothing is known before %d", i, k, got, committed)
	}
}

func (ck *checker) readRemote() {
	k := rand.N(checkerKeys)
	acked := ck.registers[k].acked.Load()
	got, err := ck.remote.Get(context.Background(), fmt.Sprint(k))
	if err == nil && got < acked {
		ck.t.Errorf("remote tier, key %d: holds %d after %d had been acknowledged", k, got, acked)
	}
	if err != nil && !errors.Is(err, tiered.ErrNotFound) {
		ck.t.Errorf("remote tier, key %d: %v", k, err)
	}
}

func (ck *checker) write(i int) {
	k := rand.N(checkerKeys)
	r, key, c := &ck.registers[k], fmt.Sprint(k), ck.caches[i]
	r.writing.Lock()
	defer r.writing.Unlock()
	v := r.committed.Add(1)
	var err error
	switch rand.N(5) {
	case 0:
		err = c.Set(context.Background(), key, v)
	case 1:
		_, err = c.SetMany(context.Background(), []tiered.Item[int64]{{Key: key, Value: v}})
	case 2:
		_, err = c.DeleteMany(context.Background(), []string{key})
	case 3:
		if _, err = c.Delete(context.Background(), key); err == nil {
			_, err = c.SetIfAbsent(context.Background(), key, v)
		}
	default:
		_, err = c.Delete(context.Background(), key)
	}
	if err != nil {
		ck.t.Errorf("instance %d, key %d: %v", i, k, err)
		return
	}
	r.ackedBy[i].Store(v)
	r.acked.Store(v)
	ck.history[k].Store(v, time.Now())
	ck.writes.Add(1)
	if v%64 == 0 { // the old half says nothing that the newer one does not
		ck.history[k].Range(func(version, _ any) bool {
			if version.(int64) < v-4096 {
				ck.history[k].Delete(version)
			}
			return true
		})
	}
}
