package inspect

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/tiered"
)

type person struct {
	Name string `json:"name"`
	Age  int    `json:"age"`
}

const secret = "hunter2"

// lookCase writes something under a key, and says what is found there.
type lookCase struct {
	name    string
	write   func(s *lookScene)
	verdict Verdict
	why     string
	check   func(f *Finding) bool
	value   string // shown if asked for
}

// lookScene is where a case writes.
type lookScene struct {
	t      *testing.T
	rdb    redis.UniversalClient
	client *tiered.Client
	place  Place
}

func (s *lookScene) people(o tiered.CacheOptions) *tiered.Cache[person] {
	s.t.Helper()
	return cacheOf[person](s.t, s.client, s.place.Cache, o)
}

var somebody = person{Name: secret, Age: 42}

func (s *lookScene) set(o tiered.CacheOptions, opts ...tiered.EntryOption) *tiered.Cache[person] {
	s.t.Helper()
	c := s.people(o)
	must(s.t, c.Set(s.t.Context(), s.place.Key, somebody, opts...))
	return c
}

// raw is the record as Redis holds it.
func (s *lookScene) raw() []byte {
	s.t.Helper()
	b, err := s.rdb.Get(s.t.Context(), s.place.remoteKey()).Bytes()
	must(s.t, err)
	return b
}

func (s *lookScene) put(b any) {
	s.t.Helper()
	must(s.t, s.rdb.Set(s.t.Context(), s.place.remoteKey(), b, 0).Err())
}

var lookCases = []lookCase{
	{name: "value", verdict: Valid, value: `"age": 42`,
		write: func(s *lookScene) { s.set(tiered.CacheOptions{TTL: time.Hour, FailSafe: time.Minute}) },
		check: func(f *Finding) bool {
			r := f.Record
			return r.Kind == "value" && r.TTLms == time.Hour.Milliseconds() && r.GraceMs == time.Minute.Milliseconds() && r.LeftMs > 0 &&
				r.Payload.Codec == "json" && r.Payload.Compression == "none" && !r.Payload.Encrypted && f.PTTLms != nil && *f.Version == 1 &&
				f.MemoryBytes != nil && f.Bytes > r.Payload.Bytes && *f.Lane.Subscribers == 1 && f.Lane.Newest != ""
		}},
	{name: "without end", verdict: Valid, write: func(s *lookScene) { s.set(tiered.CacheOptions{TTL: tiered.NoExpiration}) },
		check: func(f *Finding) bool { return f.PTTLms == nil && f.Record.TTLms == 0 }},
	{name: "string", verdict: Valid, value: `"a\x1b[31m` + secret + `"`,
		write: func(s *lookScene) {
			c := cacheOf[string](s.t, s.client, s.place.Cache, tiered.CacheOptions{})
			must(s.t, c.Set(s.t.Context(), s.place.Key, "a\x1b[31m"+secret))
		},
		check: func(f *Finding) bool { return f.Record.Payload.Codec == "raw" }},
	{name: "messagepack", verdict: Valid, value: secret,
		write: func(s *lookScene) { s.set(tiered.CacheOptions{Codec: tiered.MessagePack()}) },
		check: func(f *Finding) bool { return f.Record.Payload.Codec == "msgpack" }},
	{name: "number", verdict: Valid, value: "7000000000000000001",
		write: func(s *lookScene) {
			c := cacheOf[int64](s.t, s.client, s.place.Cache, tiered.CacheOptions{})
			must(s.t, c.Set(s.t.Context(), s.place.Key, 7000000000000000001))
		},
		check: func(f *Finding) bool { return f.Record.Number && f.Record.Payload.Codec == "number" }},
	{name: "negative", verdict: Valid,
		write: func(s *lookScene) {
			c := s.people(tiered.CacheOptions{NegativeTTL: time.Minute})
			_, err := c.GetOrSet(s.t.Context(), s.place.Key, func(context.Context) (person, error) { return person{}, tiered.ErrNotFound })
			if !errors.Is(err, tiered.ErrNotFound) {
				s.t.Fatal(err)
			}
		},
		check: func(f *Finding) bool { return f.Record.Kind == "negative" && f.Record.Payload == nil }},
	{name: "tagged", verdict: Valid, write: func(s *lookScene) { s.set(tiered.CacheOptions{}, tiered.Tags("t1", "t2")) },
		check: func(f *Finding) bool {
			return len(f.Record.Tags) == 2 && f.Record.Tags[0].Current && f.Record.Tags[1].Current
		}},
	{name: "tag invalidated", verdict: Invalidated, why: `the tag "t2"`,
		write: func(s *lookScene) {
			c := s.set(tiered.CacheOptions{}, tiered.Tags("t1", "t2"))
			must(s.t, c.InvalidateTags(s.t.Context(), "t2"))
		},
		check: func(f *Finding) bool { return f.Record.Tags[0].Current && !f.Record.Tags[1].Current }},
	{name: "below the floor", verdict: Invalidated, why: "below the cache's floor",
		write: func(s *lookScene) {
			c := s.set(tiered.CacheOptions{})
			old := s.raw()
			_, err := c.Clear(s.t.Context(), "")
			must(s.t, err)
			s.put(old) // as a node does that comes back with what it had
		},
		check: func(f *Finding) bool { return f.Lane.Floor != "" && f.Record.Stamp != f.Lane.Floor }},
	{name: "expired", verdict: Expired, why: "grace",
		write: func(s *lookScene) {
			s.set(tiered.CacheOptions{TTL: time.Millisecond, FailSafe: time.Hour})
			ticker := time.NewTicker(time.Millisecond)
			defer ticker.Stop()
			<-ticker.C
			<-ticker.C
		}},
	{name: "encrypted", verdict: Valid, write: func(s *lookScene) { s.set(tiered.CacheOptions{Keyring: ring()}) },
		check: func(f *Finding) bool {
			p := f.Record.Payload
			return p.Encrypted && p.KeyID == "k1" && p.Value == "" && f.Found()
		}},
	{name: "compressed", verdict: Valid, value: "(its beginning)",
		write: func(s *lookScene) {
			c := s.people(tiered.CacheOptions{Compression: tiered.Zstd, CompressAbove: 100})
			must(s.t, c.Set(s.t.Context(), s.place.Key, person{Name: strings.Repeat(secret, 10_000)}))
		},
		check: func(f *Finding) bool {
			p := f.Record.Payload
			return p.Compression == "zstd" && p.DecodedBytes > 70_000 && p.Bytes < 1000
		}},
	{name: "absent", verdict: Absent, write: func(*lookScene) {}, check: func(f *Finding) bool { return f.Record == nil && f.Bytes == 0 }},
	{name: "foreign", verdict: Foreign, why: "no record", write: func(s *lookScene) { s.put("just text " + secret) }},
	{name: "foreign and long", verdict: Foreign, why: "no record", write: func(s *lookScene) { s.put(strings.Repeat(secret, 100)) }},
	{name: "another type", verdict: WrongType, why: "a hash",
		write: func(s *lookScene) { must(s.t, s.rdb.HSet(s.t.Context(), s.place.remoteKey(), "f", secret).Err()) }},
	{name: "truncated", verdict: Malformed, why: "bytes where",
		write: func(s *lookScene) {
			s.set(tiered.CacheOptions{})
			b := s.raw()
			s.put(b[:len(b)-1])
		}},
	{name: "changed", verdict: Malformed, why: "checksum",
		write: func(s *lookScene) {
			s.set(tiered.CacheOptions{})
			b := s.raw()
			b[len(b)-1]++
			s.put(b)
		}},
	{name: "of another key", verdict: Malformed, why: "another key",
		write: func(s *lookScene) {
			c := s.people(tiered.CacheOptions{})
			must(s.t, c.Set(s.t.Context(), "other", somebody))
			b, err := s.rdb.Get(s.t.Context(), strings.TrimSuffix(s.place.remoteKey(), s.place.Key)+"other").Bytes()
			must(s.t, err)
			s.put(b)
		}},
	{name: "later version", verdict: UnknownVersion, why: "version 9",
		write: func(s *lookScene) {
			s.set(tiered.CacheOptions{})
			b := s.raw()
			b[offVersion] = 9
			s.put(b)
		},
		check: func(f *Finding) bool { return *f.Version == 9 }},
}

func ring() *tiered.Keyring {
	return &tiered.Keyring{Active: "k1", Keys: map[string][]byte{"k1": []byte(strings.Repeat("k", 32))}}
}

func TestLook(t *testing.T) {
	t.Parallel()
	for _, d := range deployments() {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			rdb := d.client(t)
			const namespace = "look"
			client := instance(t, rdb, namespace, 2)
			for i, c := range lookCases {
				t.Run(c.name, func(t *testing.T) {
					s := &lookScene{t: t, rdb: rdb, client: client, place: Place{Namespace: namespace, Cache: fmt.Sprint("c", i), Key: "key:1"}}
					c.write(s)
					f, err := Look(t.Context(), rdb, s.place, false)
					must(t, err)
					if f.Verdict != c.verdict || !strings.Contains(f.Why, c.why) || f.Lane.Lanes != 2 || f.Found() != (c.verdict == Valid) {
						t.Errorf("%s: %q, %+v", f.Verdict, f.Why, f.Lane)
					}
					if c.check != nil && !c.check(f) {
						t.Errorf("%+v %+v %+v", f, f.Record, f.Lane)
					}
					if text := textOf(t, f); strings.Contains(text, secret) || !strings.Contains(text, string(c.verdict)) {
						t.Errorf("without values, the text is\n%s", text)
					}
					if f, err = Look(t.Context(), rdb, s.place, true); err != nil {
						t.Fatal(err)
					}
					if text := textOf(t, f); !strings.Contains(text, c.value) || strings.Contains(text, "\x1b") || len(text) > maxShown+4000 {
						t.Errorf("with values, the text is\n%s", text)
					}
				})
			}
		})
	}
}

func textOf(t *testing.T, f *Finding) string {
	t.Helper()
	var b strings.Builder
	must(t, f.WriteText(&b))
	return b.String()
}

func TestLookAtALease(t *testing.T) {
	t.Parallel()
	for _, d := range deployments() {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			rdb := d.client(t)
			client, other := instance(t, rdb, "lease", 1), instance(t, rdb, "lease", 1)
			place := Place{Namespace: "lease", Cache: "c", Key: "k"}
			loading, goOn := make(chan struct{}), make(chan struct{})
			got := make(chan error, 2)
			load := func(c *tiered.Client) {
				cache, err := tiered.NewCache[string](c, place.Cache, tiered.CacheOptions{})
				if err == nil {
					_, err = cache.GetOrSet(context.Background(), place.Key, func(context.Context) (string, error) {
						close(loading) // a second load would panic
						<-goOn
						return "v", nil
					})
				}
				got <- err
			}
			go load(client)
			<-loading
			f, err := Look(t.Context(), rdb, place, true)
			must(t, err)
			if f.Verdict != Valid || f.Record.Kind != "lease" || f.Record.Lease.Awaited || f.Record.Lease.LeftMs <= 0 || *f.Lane.Subscribers != 2 {
				t.Errorf("%+v %+v", f, f.Record)
			}
			go load(other)
			deadline := time.Now().Add(patience)
			for !f.Record.Lease.Awaited {
				if time.Now().After(deadline) {
					t.Fatal("nobody waits")
				}
				f, err = Look(t.Context(), rdb, place, true)
				must(t, err)
			}
			if text := textOf(t, f); !strings.Contains(text, "somebody waits") || !strings.Contains(text, f.Record.Lease.Holder) {
				t.Errorf("the text is\n%s", text)
			}
			close(goOn)
			must(t, <-got, <-got)
		})
	}
}

func TestLookWhereNobodyHasBeen(t *testing.T) {
	t.Parallel()
	for _, d := range deployments() {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			f, err := Look(t.Context(), d.client(t), Place{Namespace: "nobody", Cache: "c", Key: "k"}, true)
			must(t, err)
			if f.Verdict != Absent || f.Lane.Lanes != 0 || !strings.Contains(textOf(t, f), "no instance has come") {
				t.Errorf("%+v", f)
			}
		})
	}
}

func TestPlaces(t *testing.T) {
	t.Parallel()
	if p, err := ParsePlace("ns:cache:a:b"); err != nil || p != (Place{"ns", "cache", "a:b"}) || p.remoteKey() != "ns:cache:a:b" {
		t.Errorf("%+v, %v", p, err)
	}
	for _, key := range []string{"", "a", "a:b", ":b:c", "a::c", "a:b:", "a{:b:c"} {
		if _, err := ParsePlace(key); !errors.Is(err, ErrPlace) {
			t.Errorf("%q: %v", key, err)
		}
	}
	if _, err := Look(t.Context(), nil, Place{}, false); !errors.Is(err, ErrPlace) {
		t.Errorf("%v", err)
	}
	gone := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, DialerRetries: 1})
	defer gone.Close()
	if _, err := Look(t.Context(), gone, Place{"a", "b", "c"}, false); err == nil {
		t.Error("an absent Redis was asked")
	}
}
