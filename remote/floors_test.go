package remote

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// stamps around a floor, on either side of what a double can tell apart.
var stamps = []struct {
	name         string
	stamp, floor uint64
	older        bool
}{
	{"no floor", 0, 0, false},
	{"at the floor", 1764089278123<<20 | 7, 1764089278123<<20 | 7, false},
	{"one below", 1764089278123<<20 | 6, 1764089278123<<20 | 7, true},
	{"one above", 1764089278123<<20 | 8, 1764089278123<<20 | 7, false},
	{"below in the high half", 1<<32 | 0xFFFFFFFF, 2 << 32, true},
	{"above in the high half", 2 << 32, 1<<32 | 0xFFFFFFFF, false},
	{"below in the low half", 0xFFFFFFFE, 0xFFFFFFFF, true},
	{"without a stamp", 0, 1, true},
	{"highest", 1<<64 - 1, 1<<64 - 1, false},
	{"below the highest", 1<<64 - 2, 1<<64 - 1, true},
}

// judges are the operations that tell whether there is an entry.
var judges = []struct {
	name string
	do   func(ctx context.Context, s *Store, key string, floor uint64) (bool, error)
}{
	{"Exists", func(ctx context.Context, s *Store, key string, floor uint64) (bool, error) {
		return exists(ctx, s, key, floor)
	}},
	{"ExistsMany", func(ctx context.Context, s *Store, key string, floor uint64) (bool, error) {
		there, errs := existsMany(ctx, s, []string{key}, floor)
		return there[0], errs[0]
	}},
	{"TTL", func(ctx context.Context, s *Store, key string, floor uint64) (bool, error) {
		_, _, err := ttlOf(ctx, s, key, floor)
		if err != nil && err != ErrNotFound { //nolint:errorlint // nothing wraps it
			return false, err
		}
		return err == nil, nil
	}},
	{"Count", func(ctx context.Context, s *Store, key string, floor uint64) (bool, error) {
		n, err := countKeys(ctx, s, key, "", floor)
		return n == 1, err
	}},
	{"Expire", func(ctx context.Context, s *Store, key string, floor uint64) (bool, error) {
		return setTTL(ctx, s, key, time.Hour, floor, nil)
	}},
	{"SetIfAbsent", func(ctx context.Context, s *Store, key string, floor uint64) (bool, error) {
		stored, found, err := s.SetIfAbsent(ctx, key, number(5), floor, nil)
		if !stored && string(found.Payload) != "41" {
			return false, fmt.Errorf("found %q", found.Payload)
		}
		return !stored, err
	}},
	{"Increment", func(ctx context.Context, s *Store, key string, floor uint64) (bool, error) {
		sum, err := increment(ctx, s, key, 1, nil, number(0), floor, nil)
		if sum != 1 && sum != 42 {
			return false, fmt.Errorf("sum %d", sum)
		}
		return sum == 42, err
	}},
	{"Delete", func(ctx context.Context, s *Store, key string, floor uint64) (bool, error) {
		return s.Delete(ctx, key, floor, nil)
	}},
	{"DeleteMany", func(ctx context.Context, s *Store, key string, floor uint64) (bool, error) {
		existed, errs := s.DeleteMany(ctx, deletions([]string{key}, floor))
		return existed[0], errs[0]
	}},
	{"Clear", func(ctx context.Context, s *Store, key string, floor uint64) (bool, error) {
		n, err := clearKeys(ctx, s, key, "", 0, floor)
		return n == 1, err
	}},
}

func TestFloor_recordsBelowItAreAbsent(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, s *Store, rdb redis.UniversalClient) {
		for _, j := range judges {
			for _, c := range stamps {
				key := t.Name() + j.name + ":" + c.name + ":"
				r := number(41)
				r.Stamp = c.stamp
				put(t, rdb, key, r)
				there, err := j.do(t.Context(), s, key, c.floor)
				if there == c.older || err != nil {
					t.Errorf("%s, %s: there is %v, %v", j.name, c.name, there, err)
				}
				if r, _ := s.Get(t.Context(), key); j.name == "Increment" && !c.older && r.Stamp != c.stamp {
					t.Errorf("%s, %s: the stamp is now %x", j.name, c.name, r.Stamp)
				}
			}
			// A floor says nothing about what cannot be read: it is there.
			key := t.Name() + j.name + ":garbage:"
			putRaw(t, rdb, key, strings.Repeat("garbage", 20))
			if there, err := j.do(t.Context(), s, key, 1<<63); j.name != "SetIfAbsent" && j.name != "Increment" && (!there || err != nil) {
				t.Errorf("%s, garbage: there is %v, %v", j.name, there, err)
			}
		}
	})
}

func TestClear_removesOlderEntries(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, s *Store, rdb redis.UniversalClient) {
		const reclaim = 1764089278123<<20 | 7
		prefix := t.Name() + ":"
		with := func(r *Record, stamp uint64) *Record { r.Stamp = stamp; return r }
		for _, c := range []struct {
			name                string
			put                 func(key string)
			floor               uint64
			kept, counted, zero bool // zero: counted where everything is removed
		}{
			{"older", func(key string) { put(t, rdb, key, with(value("v"), reclaim-1)) }, 0, false, true, true},
			{"older, below the floor", func(key string) { put(t, rdb, key, with(value("v"), reclaim-1)) }, reclaim, false, false, false},
			{"equal", func(key string) { put(t, rdb, key, with(value("v"), reclaim)) }, 0, true, false, true},
			{"newer", func(key string) { put(t, rdb, key, with(value("v"), reclaim+1)) }, 0, true, false, true},
			{"older negative", func(key string) { put(t, rdb, key, with(negative(), 1)) }, 0, false, false, false},
			{"newer negative", func(key string) { put(t, rdb, key, with(negative(), reclaim)) }, 0, true, false, false},
			{"older lease", func(key string) { put(t, rdb, key, with(lease(Token{1}), reclaim-1)) }, 0, false, false, false},
			{"newer lease", func(key string) { put(t, rdb, key, with(lease(Token{1}), reclaim)) }, 0, true, false, false},
			{"newer and expired", func(key string) { put(t, rdb, key, with(expired("v"), reclaim)) }, 0, true, false, false},
			{"garbage", func(key string) { putRaw(t, rdb, key, strings.Repeat("\xff", 80)) }, 1 << 63, false, true, true},
			{"short garbage", func(key string) { putRaw(t, rdb, key, "\xff") }, 0, false, true, true},
			{"another version", func(key string) {
				putRaw(t, rdb, key, string(futureVersion(t, key, with(value("v"), reclaim+1))))
			}, 0, false, true, true},
			{"list", func(key string) { must(t, rdb.RPush(t.Context(), key, "x").Err()) }, 0, false, true, true},
		} {
			key := prefix + c.name
			c.put(key)
			n, err := clearKeys(t.Context(), s, prefix, "", reclaim, c.floor)
			if there := rdb.Exists(t.Context(), key).Val() == 1; there != c.kept || (n == 1) != c.counted || err != nil {
				t.Errorf("%s: there is %v, counted %d, %v", c.name, there, n, err)
			}
			must(t, rdb.Del(t.Context(), key).Err())
			c.put(key)
			n, err = clearKeys(t.Context(), s, prefix, "", 0, c.floor)
			if there := rdb.Exists(t.Context(), key).Val() == 1; there || (n == 1) != c.zero || err != nil {
				t.Errorf("%s, all: there is %v, counted %d, %v", c.name, there, n, err)
			}
		}
	})
}

// The next caller to come marks a lease, and the caller that ends it is told: to wake those that
// wait.
func TestRelease_tellsWhetherTheLeaseIsWaitedFor(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, s *Store, rdb redis.UniversalClient) {
		ctx := t.Context()
		meet := map[string]func(key string){
			"Acquire": func(key string) {
				if won, found, err := s.Acquire(ctx, LeaseRequest{Key: key, Token: NewToken()}, time.Minute); won || err != nil || found.Kind != KindLease {
					t.Errorf("met %v, %+v, %v", won, found, err)
				}
			},
			"AcquireMany": func(key string) {
				r := s.AcquireMany(ctx, []LeaseRequest{{Key: key, Token: NewToken()}}, time.Minute)[0]
				if r.Acquired || r.Err != nil || r.Found.Kind != KindLease {
					t.Errorf("met %+v", r)
				}
			},
		}
		end := map[string]func(key string, token Token) (awaited, ended bool, err error){
			"Fill": func(key string, token Token) (bool, bool, error) {
				f, err := s.Fill(ctx, key, token[:], value("v"))
				return f.Awaited, f.Stored, err
			},
			"FillMany": func(key string, token Token) (bool, bool, error) {
				f, errs := s.FillMany(ctx, []FillRequest{{key, token[:], value("v")}})
				return f[0].Awaited, f[0].Stored, errs[0]
			},
			"Release": func(key string, token Token) (bool, bool, error) {
				awaited, err := s.Release(ctx, key, token[:])
				return awaited, rdb.Exists(ctx, key).Val() == 0, err
			},
		}
		for who, end := range end {
			for how, meet := range meet {
				for waiters := range 3 {
					key, token := fmt.Sprint(t.Name(), who, how, waiters), NewToken()
					if won, _, err := s.Acquire(ctx, LeaseRequest{Key: key, Token: token, Stamp: 9}, time.Minute); !won || err != nil {
						t.Fatal(won, err)
					}
					for range waiters {
						meet(key)
					}
					r, err := s.Get(ctx, key)
					if err != nil || r.Token != token || r.Stamp != 9 || rdb.PTTL(ctx, key).Val() <= 0 {
						t.Errorf("the lease is %+v, %v", r, err)
					}
					other := NewToken()
					if awaited, ended, err := end(key, other); awaited || ended || err != nil {
						t.Errorf("%s with another token: awaited %v, ended %v, %v", who, awaited, ended, err)
					}
					if awaited, ended, err := end(key, token); awaited != (waiters > 0) || !ended || err != nil {
						t.Errorf("%s, %d by %s: awaited %v, ended %v, %v", who, waiters, how, awaited, ended, err)
					}
				}
			}
		}
		// A value that is met is not marked, and its refresh wakes nobody.
		key := t.Name()
		r := expired("v")
		before := put(t, rdb, key, r)
		meet2, _, err := s.Acquire(ctx, LeaseRequest{Key: key, Token: NewToken()}, time.Minute)
		wantRaw(t, rdb, key, before)
		f, err2 := s.Fill(ctx, key, r.Token[:], value("w"))
		if meet2 || err != nil || f != (FillResult{Stored: true}) || err2 != nil {
			t.Errorf("won %v, %v; filled %+v, %v", meet2, err, f, err2)
		}
	})
}
