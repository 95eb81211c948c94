package remote

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// What may lie under a key, as the scripts and this package must agree on it.
type stored struct {
	name    string
	put     func(t testing.TB, rdb redis.UniversalClient, key string)
	present bool  // as users see it
	typ     bool  // of another Redis type
	read    error // what reading it gives
}

var anything = []stored{
	{name: "nothing", put: func(testing.TB, redis.UniversalClient, string) {}, read: ErrNotFound},
	{name: "lease", put: func(t testing.TB, rdb redis.UniversalClient, key string) { put(t, rdb, key, lease(Token{1})) }},
	{name: "negative", put: func(t testing.TB, rdb redis.UniversalClient, key string) { put(t, rdb, key, negative()) }},
	{name: "value", put: func(t testing.TB, rdb redis.UniversalClient, key string) { put(t, rdb, key, value("v")) }, present: true},
	{name: "value without end", put: func(t testing.TB, rdb redis.UniversalClient, key string) {
		r := value("v")
		r.TTL, r.Created = 0, time.UnixMilli(0)
		put(t, rdb, key, r)
	}, present: true},
	{name: "value of 60 days", put: func(t testing.TB, rdb redis.UniversalClient, key string) { // its TTL is in seconds
		r := value("v")
		r.TTL, r.Created = 60*24*time.Hour, time.Now().Add(-59*24*time.Hour)
		put(t, rdb, key, r)
	}, present: true},
	{name: "60 days are over", put: func(t testing.TB, rdb redis.UniversalClient, key string) {
		r := value("v")
		r.TTL, r.Grace, r.Created = 60*24*time.Hour, 30*24*time.Hour, time.Now().Add(-61*24*time.Hour)
		put(t, rdb, key, r)
	}},
	{name: "value within its grace", put: func(t testing.TB, rdb redis.UniversalClient, key string) { put(t, rdb, key, expired("v")) }},
	{name: "garbage", put: func(t testing.TB, rdb redis.UniversalClient, key string) {
		putRaw(t, rdb, key, strings.Repeat("garbage", 20))
	}, present: true, read: ErrMalformed},
	{name: "short garbage", put: func(t testing.TB, rdb redis.UniversalClient, key string) { putRaw(t, rdb, key, "x") }, present: true, read: ErrMalformed},
	{name: "another version", put: func(t testing.TB, rdb redis.UniversalClient, key string) {
		putRaw(t, rdb, key, string(futureVersion(t, key, lease(Token{1}))))
	}, present: true, read: &UnknownVersionError{}},
	{name: "reserved kind", put: func(t testing.TB, rdb redis.UniversalClient, key string) {
		r := value("v")
		r.Kind = 4
		put(t, rdb, key, r)
	}, present: true, read: ErrMalformed},
	{name: "list", put: func(t testing.TB, rdb redis.UniversalClient, key string) {
		must(t, rdb.RPush(t.Context(), key, "a", "b").Err())
	}, present: true, typ: true, read: ErrWrongType},
}

func wantRead(t testing.TB, err, want error) {
	t.Helper()
	var version *UnknownVersionError
	if errors.As(want, &version) {
		if !errors.As(err, &version) {
			t.Errorf("error %v, want one of an unknown version", err)
		}
		return
	}
	if want == nil {
		wantErr(t, err)
	} else {
		wantErr(t, err, want)
	}
}

func dump(t testing.TB, rdb redis.UniversalClient, key string) string {
	t.Helper()
	b, err := rdb.Dump(t.Context(), key).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		t.Fatal(err)
	}
	return b
}

func TestGet_tellsWhatAKeyHolds(t *testing.T) {
	s, rdb := onShared(t)
	for _, c := range anything {
		t.Run(c.name, func(t *testing.T) {
			key := t.Name()
			c.put(t, rdb, key)
			_, err := s.Get(t.Context(), key)
			wantRead(t, err, c.read)
			many := s.GetMany(t.Context(), []string{key})
			if c.typ {
				c.read = ErrNotFound // all that MGET says
			}
			wantRead(t, many[0].Err, c.read)
		})
	}
}

func TestAcquire_takesOnlyAFreeKey(t *testing.T) {
	s, rdb := onShared(t)
	ch := subscribe(t, rdb)
	for _, c := range anything {
		t.Run(c.name, func(t *testing.T) {
			key, token := t.Name(), NewToken()
			c.put(t, rdb, key)
			before := dump(t, rdb, key)
			won, found, err := s.Acquire(t.Context(), LeaseRequest{Key: key, Token: token, Stamp: 77}, time.Minute)
			free := c.name == "nothing"
			if won != free {
				t.Fatalf("won is %v", won)
			}
			if !free {
				wantRead(t, err, c.read)
				if c.name != "lease" && dump(t, rdb, key) != before { // a lease is marked
					t.Error("what was there has changed")
				}
				if c.name == "lease" && (found.Token != Token{1} || found.Kind != KindLease) {
					t.Errorf("found %+v", found)
				}
				return
			}
			wantErr(t, err)
			r, err := s.Get(t.Context(), key)
			if err != nil || r.Kind != KindLease || r.Token != token || r.Stamp != 77 || r.TTL != time.Minute {
				t.Errorf("the lease is %+v, %v", r, err)
			}
			if left := rdb.PTTL(t.Context(), key).Val(); left <= 0 || left > time.Minute {
				t.Errorf("the lease ends in %v", left)
			}
			if won, _, _ := s.Acquire(t.Context(), LeaseRequest{Key: key, Token: NewToken()}, time.Minute); won {
				t.Error("a second lease was given")
			}
		})
	}
	ch.want(t, rdb)
}

func TestAcquireMany_takesEachKeyOnItsOwn(t *testing.T) {
	s, rdb := onShared(t)
	var requests []LeaseRequest
	for _, c := range anything {
		requests = append(requests, LeaseRequest{Key: t.Name() + c.name, Token: NewToken(), Stamp: 5})
		c.put(t, rdb, t.Name()+c.name)
	}
	requests = append(requests, LeaseRequest{Key: strings.Repeat("x", 1<<16), Token: NewToken()})
	results := s.AcquireMany(t.Context(), requests, time.Minute)
	for i, c := range anything {
		if results[i].Acquired != (c.name == "nothing") {
			t.Errorf("%s: acquired is %v", c.name, results[i].Acquired)
		}
		if c.name != "nothing" {
			wantRead(t, results[i].Err, c.read)
		}
	}
	wantErr(t, results[len(anything)].Err, ErrTooLarge)
	r, err := s.Get(t.Context(), requests[0].Key)
	if err != nil || r.Token != requests[0].Token || r.Stamp != 5 {
		t.Errorf("the lease is %+v, %v", r, err)
	}
}

// A fill is let in by the token that was seen, and by nothing else.
func TestFill_comparesAndSets(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(t *testing.T, s *Store, rdb *redis.Client, key string)
		stored bool
	}{
		{"nothing between", func(*testing.T, *Store, *redis.Client, string) {}, true},
		{"Set", func(t *testing.T, s *Store, _ *redis.Client, key string) {
			must(t, s.Set(t.Context(), key, value("newer"), nil))
		}, false},
		{"Delete", func(t *testing.T, s *Store, _ *redis.Client, key string) {
			_, err := s.Delete(t.Context(), key, 0, nil)
			must(t, err)
		}, false},
		{"SetIfAbsent", func(t *testing.T, s *Store, _ *redis.Client, key string) {
			_, _, err := s.SetIfAbsent(t.Context(), key, value("newer"), 0, nil)
			must(t, err)
		}, false},
		{"Increment", func(t *testing.T, s *Store, _ *redis.Client, key string) {
			_, err := increment(t.Context(), s, key, 1, nil, number(0), 0, nil)
			must(t, err)
		}, false},
		{"Clear", func(t *testing.T, s *Store, _ *redis.Client, key string) {
			_, err := clearKeys(t.Context(), s, key, "", 0, 0)
			must(t, err)
		}, false},
		{"FLUSHDB", func(t *testing.T, _ *Store, rdb *redis.Client, _ string) {
			must(t, rdb.FlushDB(t.Context()).Err())
		}, false},
		{"the lease ended", func(t *testing.T, _ *Store, rdb *redis.Client, key string) {
			must(t, rdb.PExpireAt(t.Context(), key, time.Now().Add(-time.Hour)).Err())
		}, false},
		{"the lease ended, another was taken", func(t *testing.T, s *Store, rdb *redis.Client, key string) {
			must(t, rdb.Del(t.Context(), key).Err())
			_, _, err := s.Acquire(t.Context(), LeaseRequest{Key: key, Token: NewToken()}, time.Minute)
			must(t, err)
		}, false},
		{"released", func(t *testing.T, s *Store, _ *redis.Client, key string) {
			r, err := s.Get(t.Context(), key)
			must(t, err)
			_, err = s.Release(t.Context(), key, r.Token[:])
			must(t, err)
		}, false},
		{"a list", func(t *testing.T, _ *Store, rdb *redis.Client, key string) {
			must(t, rdb.Del(t.Context(), key).Err())
			must(t, rdb.RPush(t.Context(), key, "x").Err())
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			rdb := shared.Client(t, func(o *redis.Options) { o.DB = 9 }) // FLUSHDB
			fresh(t, rdb)
			s := newStore(t, rdb)
			ch := subscribe(t, rdb)
			key, token := t.Name(), NewToken()
			won, _, err := s.Acquire(t.Context(), LeaseRequest{Key: key, Token: token}, time.Minute)
			if err != nil || !won {
				t.Fatal(won, err)
			}
			c.change(t, s, rdb, key)
			before := dump(t, rdb, key)
			r := value("filled")
			r.TTL, r.Grace = time.Hour, time.Hour
			stored, err := s.Fill(t.Context(), key, token[:], r)
			if c.name == "a list" {
				wantErr(t, err, ErrWrongType)
			} else {
				wantErr(t, err)
			}
			if stored != (FillResult{Stored: c.stored}) {
				t.Errorf("stored is %v", stored)
			}
			if !c.stored {
				if dump(t, rdb, key) != before {
					t.Error("a refused fill changed something")
				}
				// FillMany takes the same script.
				many, errs := s.FillMany(t.Context(), []FillRequest{{Key: key, Seen: token[:], Record: r}})
				if many[0].Stored || c.name != "a list" && errs[0] != nil {
					t.Errorf("FillMany: %v, %v", many, errs)
				}
				return
			}
			got, err := s.Get(t.Context(), key)
			if err != nil || string(got.Payload) != "filled" || got.Token != r.Token {
				t.Errorf("%+v, %v", got, err)
			}
			if left := rdb.PTTL(t.Context(), key).Val(); left < time.Hour || left > 2*time.Hour {
				t.Errorf("it is kept for %v, want TTL and grace", left)
			}
			ch.want(t, rdb) // a fill changes nothing that others could hold
		})
	}
}

func TestFill_refusesAnotherToken(t *testing.T) {
	s, rdb := onShared(t)
	key, token := t.Name(), NewToken()
	before := put(t, rdb, key, lease(token))
	wrong := token
	wrong[15] ^= 1
	for name, seen := range map[string][]byte{
		"wrong": wrong[:], "short": token[:15], "long": append(bytes.Clone(token[:]), 0), "empty": {}, "none": nil,
	} {
		stored, err := s.Fill(t.Context(), key, seen, value("v"))
		if stored.Stored || err != nil {
			t.Errorf("%s token: stored %v, %v", name, stored, err)
		}
		_, err = s.Release(t.Context(), key, seen)
		must(t, err)
		wantRaw(t, rdb, key, before)
	}
	// No token is what an absent key seems to have.
	for _, seen := range [][]byte{{}, nil} {
		if stored, _ := s.Fill(t.Context(), key+"absent", seen, value("v")); stored.Stored {
			t.Error("filled an absent key")
		}
		if many, errs := s.FillMany(t.Context(), []FillRequest{{Key: key + "absent", Seen: seen, Record: value("v")}}); many[0].Stored || errs[0] != nil {
			t.Error("filled an absent key")
		}
	}
}

// A record that cannot be read is replaced by a fill that saw it, unless a later version wrote it.
func TestFill_replacesAMalformedRecord(t *testing.T) {
	s, rdb := onShared(t)
	for name, data := range map[string]string{
		"garbage":     strings.Repeat("garbage", 20),
		"short":       "garbage",
		"another key": string(encode(t, "another", value("v"))),
	} {
		key := t.Name() + name
		putRaw(t, rdb, key, data)
		_, err := s.Get(t.Context(), key)
		var bad *MalformedError
		if !errors.As(err, &bad) {
			t.Fatalf("%s: %v", name, err)
		}
		if stored, err := s.Fill(t.Context(), key, bad.Seen, value("v")); !stored.Stored || err != nil {
			t.Errorf("%s: stored %v, %v", name, stored, err)
		}
		if stored, _ := s.Fill(t.Context(), key, bad.Seen, value("again")); stored.Stored {
			t.Errorf("%s: replaced what it had not seen", name)
		}
	}
}

func TestFillMany_keepsTheOrderOfItsInput(t *testing.T) {
	s, rdb := onShared(t)
	var fillings []FillRequest
	for i := range 20 {
		token := NewToken()
		f := FillRequest{Key: t.Name() + string(rune('a'+i)), Seen: token[:], Record: value("v")}
		switch i % 4 {
		case 0:
			put(t, rdb, f.Key, lease(token))
		case 1:
			f.Seen = nil
		case 2:
			f.Record = value("v")
			f.Record.Tags = []Tag{{Name: strings.Repeat("x", 1<<16)}}
		}
		fillings = append(fillings, f)
	}
	stored, errs := s.FillMany(t.Context(), fillings)
	for i := range fillings {
		if stored[i].Stored != (i%4 == 0) || errors.Is(errs[i], ErrTooLarge) != (i%4 == 2) {
			t.Errorf("%d: stored %v, %v", i, stored[i], errs[i])
		}
	}
}

func TestRelease_givesBackOnlyItsOwnLease(t *testing.T) {
	s, rdb := onShared(t)
	key, token := t.Name(), NewToken()
	put(t, rdb, key, lease(token))
	release := func(token []byte) {
		t.Helper()
		if awaited, err := s.Release(t.Context(), key, token); awaited || err != nil {
			t.Errorf("awaited %v, %v", awaited, err)
		}
	}
	other := NewToken()
	release(other[:])
	if raw(t, rdb, key) == nil {
		t.Fatal("released another's lease")
	}
	release(token[:])
	if raw(t, rdb, key) != nil {
		t.Error("not released")
	}
	release(token[:]) // nothing is there
	release(nil)
}
