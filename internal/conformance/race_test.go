package conformance

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
	"github.com/doppio-cache/doppio/tiered"
)

const contestants = 50

func raceRows() []row {
	return []row{
		{op: "Increment", name: "50 at once", once: true, run: incrementAtOnce},
		{op: "SetIfAbsent", name: "50 at once", once: true, run: setIfAbsentAtOnce},
		{op: "GetOrSetValue", name: "50 at once", once: true, run: getOrSetValueAtOnce},
		{op: "Delete", name: "50 at once", once: true, run: deleteAtOnce},
		{op: "everything", name: "at once", once: true, run: everythingAtOnce},
	}
}

// atOnce runs do on both instances, and waits.
func atOnce(t *testing.T, e *env, do func(i int64, c *tiered.Cache[int64])) (a, b *tiered.Cache[int64]) {
	t.Helper()
	a, b = cache[int64](t, e.first, e.name), cache[int64](t, e.second, e.name)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range int64(contestants) {
		c := a
		if i%2 == 1 {
			c = b
		}
		wg.Go(func() {
			<-start
			do(i, c)
		})
	}
	close(start)
	wg.Wait()
	return a, b
}

func incrementAtOnce(t *testing.T, e *env) {
	const rounds = 4
	var seen sync.Map
	a, b := atOnce(t, e, func(i int64, c *tiered.Cache[int64]) {
		for range rounds {
			sum, err := c.Increment(t.Context(), "k", i+1)
			if err != nil {
				t.Error(err)
			}
			if _, twice := seen.LoadOrStore(sum, true); twice {
				t.Errorf("two were given the sum %d", sum)
			}
		}
	})
	total := int64(rounds * contestants * (contestants + 1) / 2)
	sees(t, a, "k", total, nil)
	sees(t, b, "k", total, nil)
}

func setIfAbsentAtOnce(t *testing.T, e *env) {
	var winners, value atomic.Int64
	a, b := atOnce(t, e, func(i int64, c *tiered.Cache[int64]) {
		won, err := c.SetIfAbsent(t.Context(), "k", i)
		if err != nil {
			t.Error(err)
		}
		if won {
			winners.Add(1)
			value.Store(i)
		}
	})
	if n := winners.Load(); n != 1 {
		t.Fatalf("%d winners", n)
	}
	finds(t, a, "k", value.Load(), nil)
	finds(t, b, "k", value.Load(), nil)
}

func getOrSetValueAtOnce(t *testing.T, e *env) {
	var values sync.Map
	a, b := atOnce(t, e, func(i int64, c *tiered.Cache[int64]) {
		v, err := c.GetOrSetValue(t.Context(), "k", i)
		if err != nil {
			t.Error(err)
		}
		values.Store(v, true)
	})
	var got []any
	values.Range(func(v, _ any) bool { got = append(got, v); return true })
	if len(got) != 1 {
		t.Fatalf("callers were given %v", got)
	}
	finds(t, a, "k", got[0].(int64), nil)
	finds(t, b, "k", got[0].(int64), nil)
}

func deleteAtOnce(t *testing.T, e *env) {
	check(t, cache[int64](t, e.first, e.name).Set(t.Context(), "k", 1))
	var winners atomic.Int64
	atOnce(t, e, func(_ int64, c *tiered.Cache[int64]) {
		existed, err := c.Delete(t.Context(), "k")
		if err != nil {
			t.Error(err)
		}
		if existed {
			winners.Add(1)
		}
	})
	if n := winners.Load(); n != 1 {
		t.Fatalf("%d found it", n)
	}
}

// mixed is a set of few keys, each with a number of its own: every value under the key, and every increment, is a
// multiple of it, so that what was written for one key is never taken for what was written for another.
type mixed struct {
	keys []string
	unit map[string]int64
}

func newMixed() mixed {
	m := mixed{unit: make(map[string]int64)}
	for i, k := range []string{"a", "b", "ab", "user:1", "user:2", "{x}y", "tagged", " "} {
		m.keys = append(m.keys, k)
		m.unit[k] = 1<<40 + int64(i)*2 + 1
	}
	return m
}

func (m mixed) of(key string) int64 { return m.unit[key] * (1 + rand.Int64N(100)) }

// source is what loaders give. It does not change: two instances that load at the same time may each keep what they loaded.
func (m mixed) source(key string) int64 { return m.unit[key] }

func (m mixed) verify(key string, v int64) error {
	if v <= 0 || v%m.unit[key] != 0 {
		return fmt.Errorf("%d was never written under %q", v, key)
	}
	return nil
}

// everythingAtOnce mixes all operations on two instances and few keys: nothing fails, and every value is one that was
// written under its key.
func everythingAtOnce(t *testing.T, e *env) {
	const workers, span = 16, 500 * time.Millisecond // for each engine
	m := newMixed()
	caches := []*tiered.Cache[int64]{cache[int64](t, e.first, e.name), cache[int64](t, e.second, e.name)}
	deadline := time.Now().Add(span)
	var calls atomic.Int64
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() {
			for n := 0; time.Now().Before(deadline) && !t.Failed(); n++ {
				op := rand.IntN(len(mixedOps))
				if err := mixedOps[op].do(t.Context(), caches[i%2], m, m.keys[rand.IntN(len(m.keys))]); err != nil && !errors.Is(err, tiered.ErrNotFound) {
					t.Errorf("%s: %v", mixedOps[op].name, err)
				}
				calls.Add(1)
			}
		})
	}
	wg.Wait()
	if calls.Load() == 0 {
		t.Fatal("nothing was done")
	}
	// When it is quiet, both instances agree; but one may keep what it loaded beside a record that ended before it
	// could be replaced.
	for _, key := range m.keys {
		redistest.Eventually(t, patience, func() error {
			a, errA := caches[0].Get(t.Context(), key)
			b, errB := caches[1].Get(t.Context(), key)
			bothOrNone := (errA == nil) == (errB == nil)
			if bothOrNone && a == b || !bothOrNone && a+b == m.source(key) {
				return nil
			}
			return fmt.Errorf("under %q one has %d units (found: %t), the other %d (found: %t); the remote tier has %q",
				key, a/m.unit[key], errA == nil, b/m.unit[key], errB == nil, e.stored(t, key))
		})
	}
}

var mixedOps = []struct {
	name string
	do   func(ctx context.Context, c *tiered.Cache[int64], m mixed, key string) error
}{
	{"Get", func(ctx context.Context, c *tiered.Cache[int64], m mixed, key string) error {
		v, err := c.Get(ctx, key)
		return verified(m, key, v, err)
	}},
	{"GetMany", func(ctx context.Context, c *tiered.Cache[int64], m mixed, _ string) error {
		values, err := c.GetMany(ctx, m.keys)
		return errors.Join(err, m.verifyAll(values))
	}},
	{"GetOrSet", func(ctx context.Context, c *tiered.Cache[int64], m mixed, key string) error {
		v, err := c.GetOrSet(ctx, key, func(context.Context) (int64, error) { return m.source(key), nil })
		return verified(m, key, v, err)
	}},
	{"GetOrSetMany", func(ctx context.Context, c *tiered.Cache[int64], m mixed, _ string) error {
		values, err := c.GetOrSetMany(ctx, m.keys, func(_ context.Context, missing []string) (map[string]int64, error) {
			out := make(map[string]int64)
			for _, k := range missing {
				out[k] = m.source(k)
			}
			return out, nil
		})
		if err == nil && len(values) != len(m.keys) {
			err = fmt.Errorf("%d values for %d keys", len(values), len(m.keys))
		}
		return errors.Join(err, m.verifyAll(values))
	}},
	{"GetOrSetValue", func(ctx context.Context, c *tiered.Cache[int64], m mixed, key string) error {
		v, err := c.GetOrSetValue(ctx, key, m.of(key))
		return verified(m, key, v, err)
	}},
	{"Set", func(ctx context.Context, c *tiered.Cache[int64], m mixed, key string) error {
		return c.Set(ctx, key, m.of(key), tiered.TTL(time.Duration(1+rand.IntN(50))*time.Millisecond))
	}},
	{"SetMany", func(ctx context.Context, c *tiered.Cache[int64], m mixed, key string) error {
		_, err := c.SetMany(ctx, []tiered.Item[int64]{{Key: key, Value: m.of(key)}, {Key: "tagged", Value: m.of("tagged"), Tags: []string{"t", "u"}}})
		return err
	}},
	{"SetIfAbsent", func(ctx context.Context, c *tiered.Cache[int64], m mixed, key string) error {
		_, err := c.SetIfAbsent(ctx, key, m.of(key), tiered.FailSafe(time.Minute))
		return err
	}},
	{"Delete", func(ctx context.Context, c *tiered.Cache[int64], _ mixed, key string) error {
		_, err := c.Delete(ctx, key)
		return err
	}},
	{"DeleteMany", func(ctx context.Context, c *tiered.Cache[int64], m mixed, _ string) error {
		_, err := c.DeleteMany(ctx, m.keys[:3])
		return err
	}},
	{"Exists", func(ctx context.Context, c *tiered.Cache[int64], _ mixed, key string) error {
		_, err := c.Exists(ctx, key)
		return err
	}},
	{"ExistsMany", func(ctx context.Context, c *tiered.Cache[int64], m mixed, _ string) error {
		_, err := c.ExistsMany(ctx, m.keys)
		return err
	}},
	{"Clear", func(ctx context.Context, c *tiered.Cache[int64], _ mixed, _ string) error {
		_, err := c.Clear(ctx, "user:*")
		return err
	}},
	{"Count", func(ctx context.Context, c *tiered.Cache[int64], m mixed, _ string) error {
		n, err := c.Count(ctx, "")
		if err == nil && n > len(m.keys) {
			err = fmt.Errorf("%d entries under %d keys", n, len(m.keys))
		}
		return err
	}},
	{"Increment", func(ctx context.Context, c *tiered.Cache[int64], m mixed, key string) error {
		v, err := c.Increment(ctx, key, m.of(key))
		return verified(m, key, v, err)
	}},
	{"TTL", func(ctx context.Context, c *tiered.Cache[int64], _ mixed, key string) error {
		_, err := c.TTL(ctx, key)
		return err
	}},
	{"Expire", func(ctx context.Context, c *tiered.Cache[int64], _ mixed, key string) error {
		_, err := c.Expire(ctx, key, time.Duration(1+rand.IntN(50))*time.Millisecond)
		return err
	}},
	{"InvalidateTags", func(ctx context.Context, c *tiered.Cache[int64], _ mixed, _ string) error {
		return c.InvalidateTags(ctx, "t")
	}},
}

func verified(m mixed, key string, v int64, err error) error {
	if err != nil {
		return err
	}
	return m.verify(key, v)
}

func (m mixed) verifyAll(values map[string]int64) error {
	for k, v := range values {
		if err := m.verify(k, v); err != nil {
			return err
		}
	}
	return nil
}
