package local

import (
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// expiring returns an entry of it with the given lifetime.
func expiring(it item, now int64, ttl time.Duration) *Entry {
	e := it.entry(1)
	e.Expires = now + int64(ttl)
	return e
}

func TestExpirer_removesExpiredEntriesUnread(t *testing.T) {
	eachEngine(t, func(t *testing.T, kind EngineKind) {
		synctest.Test(t, func(t *testing.T) {
			tier := newTier(t, Options{Engine: kind})
			s := tier.NewScope()
			for i := range 3_000 {
				s.Set(itemOf(i).hash, expiring(itemOf(i), Monotonic(), time.Duration(1+i%3)*time.Minute))
			}
			time.Sleep(time.Minute - time.Second)
			for minute := 1; minute <= 3; minute++ {
				if got, want := tier.Len(), 3_000-1_000*(minute-1); got != want {
					t.Errorf("%d entries before minute %d, want %d", got, minute, want)
				}
				time.Sleep(time.Second + time.Duration(expiryBucketWidth))
				synctest.Wait()
				if got, want := tier.Len(), 3_000-1_000*minute; got != want {
					t.Errorf("%d entries after minute %d, want %d", got, minute, want)
				}
				time.Sleep(time.Minute - time.Second - time.Duration(expiryBucketWidth))
			}
			if got := tier.Stats().Expired; got != 3_000 {
				t.Errorf("Expired is %d", got)
			}
			tier.wait()
			if got := len(storedEntries(tier)); got != 0 {
				t.Errorf("the engine holds %d entries", got)
			}
		})
	})
}

func TestExpirer_leavesTheNewerOfTwoEntries(t *testing.T) {
	eachEngine(t, func(t *testing.T, kind EngineKind) {
		synctest.Test(t, func(t *testing.T) {
			s, it := newTier(t, Options{Engine: kind}).NewScope(), itemOf(1)
			s.Set(it.hash, expiring(it, Monotonic(), time.Second))
			s.Set(it.hash, expiring(it, Monotonic(), time.Hour))
			time.Sleep(time.Minute)
			if _, ok := read(s, it); !ok {
				t.Error("the newer entry is gone with the older one's expiry")
			}
			s.Set(it.hash, it.entry("for ever"))
			time.Sleep(2 * time.Hour)
			if v, _ := read(s, it); v != "for ever" {
				t.Errorf("read %v", v)
			}
		})
	})
}

// With nothing to expire soon, the expirer does not run before it is due.
func TestExpirer_sleepsWhenNothingIsDue(t *testing.T) {
	eachEngine(t, func(t *testing.T, kind EngineKind) {
		synctest.Test(t, func(t *testing.T) {
			var readings atomic.Int64
			clock := func() int64 { readings.Add(1); return Monotonic() }
			tier := newTier(t, Options{Engine: kind, Clock: clock})
			s := tier.NewScope()
			s.Set(itemOf(1).hash, itemOf(1).entry("for ever"))
			synctest.Wait()
			before := readings.Load()
			time.Sleep(24 * time.Hour)
			if n := readings.Load() - before; n != 0 {
				t.Errorf("%d clock readings in an idle day", n)
			}
			s.Set(itemOf(2).hash, expiring(itemOf(2), Monotonic(), time.Hour))
			synctest.Wait()
			before = readings.Load()
			time.Sleep(59 * time.Minute)
			if n := readings.Load() - before; n != 0 {
				t.Errorf("%d clock readings before anything expired", n)
			}
		})
	})
}

// Each Set races with the expirer, which is due at once. The invariants at the end of the test
// find an entry that died before the engine had it, and stayed.
func TestExpirer_removesAnEntryThatExpiredBeforeItsSet(t *testing.T) {
	eachEngine(t, func(t *testing.T, kind EngineKind) {
		tier := newTier(t, Options{Engine: kind})
		s := tier.NewScope()
		for i := range 10_000 {
			s.Set(itemOf(i).hash, expiring(itemOf(i), Monotonic(), -time.Hour))
		}
		eventually(t, "every entry to be reclaimed", func() bool { return tier.Len() == 0 })
	})
}

func TestExpirer_followsTheClockGiven(t *testing.T) {
	eachEngine(t, func(t *testing.T, kind EngineKind) {
		var now atomic.Int64
		tier := newTier(t, Options{Engine: kind, Clock: now.Load})
		s := tier.NewScope()
		s.Set(itemOf(1).hash, expiring(itemOf(1), 0, time.Hour))
		now.Store(int64(2 * time.Hour))
		// The goroutine sleeps by real time; the next expiry that comes sooner makes it look.
		s.Set(itemOf(2).hash, expiring(itemOf(2), -int64(2*time.Hour), time.Second))
		eventually(t, "both expired entries to be reclaimed", func() bool { return tier.Len() == 0 })
	})
}

func TestExpirer_bucketsAreDueSoonAfterTheirEntries(t *testing.T) {
	for _, c := range []struct{ expires, now time.Duration }{
		{0, 0}, {1, 0}, {5 * time.Second, 0}, {5*time.Second + 1, 0}, {time.Hour, 0}, {48 * time.Hour, time.Hour},
		{10_000 * time.Hour, 1}, {time.Second, time.Hour}, {-7 * time.Second, -10 * time.Second},
	} {
		due, ok := bucketOf(int64(c.expires), int64(c.now))
		late := time.Duration(due) - c.expires
		if !ok || late < 0 || late >= max(time.Duration(expiryBucketWidth), (c.expires-c.now)/lifetimeFraction+1) {
			t.Errorf("bucketOf(%v, %v) = %v, %v: %v late", c.expires, c.now, time.Duration(due), ok, late)
		}
	}
	for _, expires := range []int64{math.MaxInt64 - 1, math.MaxInt64 - expiryBucketWidth} {
		if due, ok := bucketOf(expires, 0); ok {
			t.Errorf("bucketOf(%d) = %d", expires, due)
		}
	}
}
