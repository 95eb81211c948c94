package local

import (
	"fmt"
	"testing"
	"time"

	"github.com/doppio-cache/doppio/internal/keyhash"
)

var engines = []EngineKind{Ristretto, Otter}

// eachEngine runs f as a subtest per engine.
func eachEngine(t *testing.T, f func(t *testing.T, kind EngineKind)) {
	for _, kind := range engines {
		t.Run(kind.String(), func(t *testing.T) { f(t, kind) })
	}
}

// newTier returns a tier whose invariants are checked, before and after Close, when the test ends.
func newTier(t testing.TB, opts Options) *Tier {
	t.Helper()
	tier, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeChecked(t, tier) })
	return tier
}

func closeChecked(t testing.TB, tier *Tier) {
	t.Helper()
	if !tier.closed.Load() {
		tier.wait()
		checkInvariants(t, tier)
	}
	if err := tier.Close(); err != nil {
		t.Error(err)
	}
	checkEmpty(t, tier)
}

// storedEntries returns what the engine itself holds.
func storedEntries(tier *Tier) (entries []*Entry) {
	switch engine := tier.engine.(type) {
	case *ristrettoEngine:
		engine.cache.IterValues(func(e *Entry) bool {
			entries = append(entries, e)
			return false
		})
	case *otterEngine:
		for _, e := range engine.cache.All() {
			entries = append(entries, e)
		}
	}
	return entries
}

// checkInvariants wants a tier that nobody uses and whose writes are applied.
func checkInvariants(t testing.TB, tier *Tier) {
	t.Helper()
	var charge int64
	var expiring int
	stored := storedEntries(tier)
	for _, e := range stored {
		if !e.alive() {
			t.Errorf("the engine keeps the dead entry of %q", e.Key())
		}
		charge += e.charge
		if e.prev != nil {
			expiring++
		} else if e.Expires != Never && tier.accounts.expirer.linkable(e) {
			t.Errorf("the entry of %q will not be reclaimed", e.Key())
		}
	}
	if got := tier.accounts.entries.Load(); got != int64(len(stored)) {
		t.Errorf("Len is %d, the engine holds %d", got, len(stored))
	}
	if got := tier.accounts.charge.Load(); got != charge {
		t.Errorf("the charge is %d, the engine's entries make %d", got, charge)
	}
	if got := tier.accounts.expirer.size(); got != expiring {
		t.Errorf("%d entries wait to be reclaimed, %d are stored", got, expiring)
	}
	if limit := tier.engine.capacity(); charge > limit {
		t.Errorf("the charge is %d, the bound %d", charge, limit)
	}
	if r, ok := tier.engine.(*ristrettoEngine); ok {
		if n, c := r.buffer.count.Load(), r.buffer.charge.Load(); n != 0 || c != 0 {
			t.Errorf("the write buffer counts %d entries of charge %d, and should be empty", n, c)
		}
	}
	for _, s := range tier.scopes {
		if s.busy() {
			t.Error("a Lookup was not concluded")
		}
	}
}

func checkEmpty(t testing.TB, tier *Tier) {
	t.Helper()
	if s := tier.Stats(); s.Entries != 0 || s.Bytes != 0 {
		t.Errorf("a closed tier has %d entries of %d bytes", s.Entries, s.Bytes)
	}
	if n := tier.accounts.expirer.size(); n != 0 {
		t.Errorf("a closed tier keeps %d entries to reclaim", n)
	}
}

func (r *expirer) size() (n int) {
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		for _, head := range s.buckets {
			for e := head.next; e != head; e = e.next {
				n++
			}
		}
		s.mu.Unlock()
	}
	return n
}

func (r *expirer) linkable(e *Entry) bool {
	_, ok := bucketOf(e.Expires, r.clock())
	return ok
}

// item is a key with its hash.
type item struct {
	key  string
	hash uint64
}

func itemOf(i int) item {
	key := fmt.Sprintf("key:%d", i)
	return item{key, keyhash.Sum(0, key)}
}

func (i item) entry(value any) *Entry {
	e := NewEntry[any](i.key, nil)
	e.Value = value
	return e
}

// read looks an item up and concludes the Lookup.
func read(s *Scope, i item) (value any, ok bool) {
	e := s.Lookup(i.hash, i.key)
	if e == nil {
		return nil, false
	}
	defer s.Hit(i.hash)
	return e.Value, true
}

// eventually polls until ok, and fails the test after a generous while.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}
