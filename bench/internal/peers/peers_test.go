package peers

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/redistest"
)

const patience = time.Minute

var namespaces atomic.Int64

// config is that of a subject on its own.
func config(local bool) Config {
	return Config{
		Addr: server.Addr, DB: 1, Namespace: "peers-" + strconv.FormatInt(namespaces.Add(1), 10),
		Entries: 10_000, TTL: time.Hour, PoolSize: 4, Local: local,
	}
}

// eachSubject runs test for every subject with each set of its tiers.
func eachSubject[V any](t *testing.T, test func(t *testing.T, s Subject[V], c Config, cache Cache[V])) {
	t.Helper()
	for _, s := range All[V]() {
		for _, local := range []bool{true, false} {
			tiers := "remote"
			if local {
				tiers = "local"
			}
			t.Run(s.Info.Name+"/"+tiers, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				c := config(local)
				cache, err := s.Open(ctx, c)
				if local && !s.Local || !local && (!s.Remote || s.Info.Name == "sturdyc") {
					if !errors.Is(err, ErrTiers) {
						t.Fatalf("opened with tiers that it does not have: %v, want ErrTiers", err)
					}
					return
				}
				check(t, err)
				defer func() { check(t, cache.Close()) }()
				test(t, s, c, cache)
			})
		}
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// store puts v under key by whatever means the subject has.
func store[V any](t *testing.T, cache Cache[V], key string, v V) {
	t.Helper()
	if s, ok := cache.(Setter[V]); ok {
		check(t, s.Set(t.Context(), key, v))
	} else {
		_, err := cache.(Loader[V]).GetOrLoad(t.Context(), key, func(context.Context) (V, error) { return v, nil })
		check(t, err)
	}
	if w, ok := cache.(Waiter); ok {
		w.Wait()
	}
}

// becomes polls, for rueidis hears of its own changes a moment later.
func becomes[V any](t *testing.T, cache Cache[V], key string, want V) {
	t.Helper()
	redistest.Eventually(t, patience, func() error {
		got, err := cache.(Getter[V]).Get(t.Context(), key)
		if err == nil && !reflect.DeepEqual(got, want) {
			err = fmt.Errorf("%v, want %v", got, want)
		}
		return err
	})
}

func becomesMissing[V any](t *testing.T, cache Cache[V], key string) {
	t.Helper()
	redistest.Eventually(t, patience, func() error {
		if got, err := cache.(Getter[V]).Get(t.Context(), key); !errors.Is(err, ErrMiss) {
			return fmt.Errorf("%v, %w, want ErrMiss", got, err)
		}
		return nil
	})
}

func forbidden[V any](t *testing.T) func(context.Context) (V, error) {
	return func(context.Context) (V, error) {
		t.Error("the loader ran")
		return *new(V), errors.New("the loader ran")
	}
}

func TestSubjectsKeepWhatTheyAreGiven(t *testing.T) {
	t.Run("struct", func(t *testing.T) { keepWhatTheyAreGiven(t, NewAccount) })
	t.Run("bytes", func(t *testing.T) { keepWhatTheyAreGiven(t, NewBlob) })
}

func keepWhatTheyAreGiven[V any](t *testing.T, value func(int) V) {
	eachSubject(t, func(t *testing.T, s Subject[V], _ Config, cache Cache[V]) {
		getter, loader := cache.(Getter[V]), cache.(Loader[V])
		if _, err := getter.Get(t.Context(), "never"); !errors.Is(err, ErrMiss) {
			t.Fatalf("Get of nothing: %v, want ErrMiss", err)
		}
		store(t, cache, "a", value(1))
		becomes(t, cache, "a", value(1))

		// A load stores what it gives.
		loads := 0
		got, err := loader.GetOrLoad(t.Context(), "b", func(context.Context) (V, error) { loads++; return value(2), nil })
		if check(t, err); !reflect.DeepEqual(got, value(2)) || loads != 1 {
			t.Fatalf("GetOrLoad = %v after %d loads", got, loads)
		}
		if w, ok := cache.(Waiter); ok {
			w.Wait()
		}
		becomes(t, cache, "b", value(2))
		got, err = loader.GetOrLoad(t.Context(), "b", forbidden[V](t))
		if check(t, err); !reflect.DeepEqual(got, value(2)) {
			t.Fatalf("GetOrLoad = %v", got)
		}
		broken := errors.New("broken")
		if _, err := loader.GetOrLoad(t.Context(), "c", func(context.Context) (V, error) { return *new(V), broken }); !errors.Is(err, broken) {
			t.Fatalf("GetOrLoad = %v, want the loader's error", err)
		}

		if many, ok := cache.(ManyGetter[V]); ok {
			want := map[string]V{"a": value(1), "b": value(2)}
			found, err := many.GetMany(t.Context(), []string{"a", "never", "b"})
			if check(t, err); !reflect.DeepEqual(found, want) {
				t.Fatalf("GetMany = %v, want %v", found, want)
			}
		}
		if f, ok := cache.(Forgetter); ok && s.Remote {
			isRemote(t, cache, f, "b", value(2))
		}
		check(t, cache.(Deleter).Delete(t.Context(), "a"))
		becomesMissing[V](t, cache, "a")
	})
}

// isRemote requires that the remote tier has key: sturdyc writes there when it gets to it.
func isRemote[V any](t *testing.T, cache Cache[V], f Forgetter, key string, want V) {
	t.Helper()
	redistest.Eventually(t, patience, func() error {
		if err := f.Forget(t.Context(), key); err != nil {
			return err
		}
		got, err := cache.(Getter[V]).Get(t.Context(), key)
		if err == nil && !reflect.DeepEqual(got, want) {
			err = fmt.Errorf("%v, want %v", got, want)
		}
		return err
	})
	if many, ok := cache.(ManyGetter[V]); ok {
		check(t, f.Forget(t.Context(), key))
		if found, err := many.GetMany(t.Context(), []string{key}); err != nil || !reflect.DeepEqual(found[key], want) {
			t.Fatalf("GetMany from the remote tier = %v, %v", found, err)
		}
	}
}

// What a subject writes to Redis begins with its namespace, is in the database that was asked for, and ends: so that a given
// server can be cleaned, and is clean in time if it is not.
func TestSubjectsStayInTheirNamespace(t *testing.T) {
	eachSubject(t, func(t *testing.T, s Subject[Account], c Config, cache Cache[Account]) {
		if !s.Remote {
			return
		}
		admin := server.Client(t, func(o *redis.Options) { o.DB = c.DB })
		store(t, cache, "key", NewAccount(1))
		redistest.Eventually(t, patience, func() error {
			keys, err := admin.Keys(t.Context(), c.Namespace+":*key").Result()
			if err != nil || len(keys) != 1 {
				return fmt.Errorf("%q, %w, want one key", keys, err)
			}
			if left, err := admin.PTTL(t.Context(), keys[0]).Result(); err != nil || left <= 0 || left > c.TTL {
				return fmt.Errorf("%s lives for %v, %w", keys[0], left, err)
			}
			return nil
		})
		c.Namespace = "other-" + c.Namespace
		again, err := s.Open(t.Context(), c)
		check(t, err)
		defer func() { check(t, again.Close()) }()
		if _, err := again.(Getter[Account]).Get(t.Context(), "key"); !errors.Is(err, ErrMiss) {
			t.Fatalf("another namespace has the entry, too: %v", err)
		}
	})
}

// A local hit is the local tier's: it does not ask Redis, and without the local tier a read does.
func TestLocalReadsAreLocal(t *testing.T) {
	eachSubject(t, func(t *testing.T, s Subject[Account], c Config, cache Cache[Account]) {
		if !s.Remote {
			return
		}
		store(t, cache, "key", NewAccount(1))
		becomes(t, cache, "key", NewAccount(1))
		if w, ok := cache.(Waiter); ok {
			w.Wait()
		}
		admin := server.Client(t)
		asked := func() (reads int64) {
			text, err := admin.Info(t.Context(), "commandstats").Result()
			check(t, err)
			for line := range strings.Lines(text) {
				name, stats, _ := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
				if slices.Contains([]string{"get", "mget", "getrange"}, name) {
					calls, _, _ := strings.Cut(stats, ",")
					n, err := strconv.ParseInt(calls, 10, 64)
					check(t, err)
					reads += n
				}
			}
			return reads
		}
		const reads = 20
		if c.Local { // a local tier that admits in its own time gets it
			redistest.Eventually(t, patience, func() error {
				before := asked()
				becomes(t, cache, "key", NewAccount(1))
				if asked() != before {
					return errors.New("not local")
				}
				return nil
			})
		}
		before := asked()
		for range reads {
			becomes(t, cache, "key", NewAccount(1))
		}
		if n := asked() - before; c.Local && n != 0 || !c.Local && n != reads {
			t.Errorf("%d reads asked Redis %d times", reads, n)
		}
	})
}

// An adapter's hit allocates what its library does: nothing for those that hold values, but for theine's loading cache.
func TestLocalHitsAllocateNothing(t *testing.T) {
	holdValues := []string{"doppio", "doppio/otter", "ristretto", "otter", "sturdyc", "by hand"}
	eachSubject(t, func(t *testing.T, s Subject[Account], c Config, cache Cache[Account]) {
		if !c.Local || !slices.Contains(holdValues, s.Info.Name) {
			return
		}
		store(t, cache, "key", NewAccount(1))
		becomes(t, cache, "key", NewAccount(1))
		getter, ctx := cache.(Getter[Account]), t.Context()
		redistest.Eventually(t, patience, func() error { // others' goroutines allocate, too
			if n := testing.AllocsPerRun(200, func() {
				if _, err := getter.Get(ctx, "key"); err != nil {
					t.Error(err)
				}
			}); n != 0 {
				return fmt.Errorf("%v allocations a hit", n)
			}
			return nil
		})
	})
}

// Open that fails says which library it was, and leaves nothing behind: see TestMain.
func TestOpenWithoutRedis(t *testing.T) {
	for _, s := range All[Account]() {
		if !s.Remote {
			continue
		}
		t.Run(s.Info.Name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			c := config(s.Local)
			c.Addr = "127.0.0.1:1" // tcpmux: nobody listens
			if _, err := s.Open(ctx, c); err == nil {
				t.Fatal("opened without a Redis")
			} else if name, _, _ := strings.Cut(s.Info.Name, "/"); !strings.Contains(err.Error(), name) {
				t.Errorf("%v: does not name %s", err, s.Info.Name)
			}
		})
	}
}

func TestSubjectsAreDescribed(t *testing.T) {
	seen := make(map[string]bool)
	for _, s := range All[Account]() {
		if s.Info.Name == "" || seen[s.Info.Name] || s.Info.Module == "" || s.Info.About == "" || !s.Local && !s.Remote {
			t.Errorf("%+v", s.Info)
		}
		seen[s.Info.Name] = true
	}
	if All[Account]()[0].Info.Name != "doppio" {
		t.Error("ours is not first")
	}
}

func TestBlobsDiffer(t *testing.T) {
	seen := make(map[string]int)
	for i := range 1000 {
		b := NewBlob(i)
		if len(b) != BlobBytes {
			t.Fatalf("%d bytes", len(b))
		}
		if other, ok := seen[string(b)]; ok {
			t.Fatalf("blobs %d and %d are the same", other, i)
		}
		seen[string(b)] = i
	}
}
