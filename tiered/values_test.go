package tiered_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/doppio-cache/doppio/tiered"
)

// stranger gives a cache of another type and instance under the same remote keys.
func stranger[V any](t *testing.T, ns string) *tiered.Cache[V] {
	t.Helper()
	return newCache[V](t, coherent(t, shared.Client(t), tiered.Options{Namespace: ns}), "c", tiered.CacheOptions{})
}

func wantDecodeError(t *testing.T, err error, key string) {
	t.Helper()
	var decode *tiered.DecodeError
	if !errors.As(err, &decode) || decode.Key != key || decode.Codec == "" || errors.Is(err, tiered.ErrNotFound) {
		t.Fatalf("%v, want a *DecodeError of %q", err, key)
	}
}

// A record that does not decode is reported by reads, and loaded anew, counted and replaced by
// GetOrSet, so that it does not fail for ever.
func TestDecodeError_isReportedByReadsAndMendedByGetOrSet(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(t *testing.T, ns string, raw string) any{
		"another type": func(t *testing.T, ns, _ string) any {
			check(t, stranger[[]string](t, ns).Set(t.Context(), "k", []string{"s3cret"}))
			return nil
		},
		"text":           func(*testing.T, string, string) any { return "s3cret, and no record" },
		"empty":          func(*testing.T, string, string) any { return "" },
		"one byte":       func(*testing.T, string, string) any { return "x" },
		"half a header":  func(_ *testing.T, _, raw string) any { return raw[:30] },
		"cut payload":    func(_ *testing.T, _, raw string) any { return raw[:len(raw)-1] },
		"longer payload": func(_ *testing.T, _, raw string) any { return raw + "s3cret" },
		"another key":    func(_ *testing.T, _, raw string) any { return strings.Replace(raw, ":c:k", ":c:j", 1) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := shared.Client(t)
			ns := namespace(t)
			client := coherent(t, rdb, tiered.Options{Namespace: ns})
			c := newCache[user](t, client, "c", tiered.CacheOptions{})
			key := ns + ":c:k"
			prepare := func() {
				check(t, c.Set(t.Context(), "k", ada))
				raw, err := rdb.Get(t.Context(), key).Result()
				check(t, err)
				_, err = c.Delete(t.Context(), "k")
				check(t, err)
				if v := spoil(t, ns, raw); v != nil {
					check(t, rdb.Set(t.Context(), key, v, 0).Err())
				}
			}
			prepare()
			_, err := c.Get(t.Context(), "k")
			wantDecodeError(t, err, "k")
			if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the error shows the value: %v", err)
			}
			m, err := c.GetMany(t.Context(), []string{"k", "other"})
			var batch *tiered.BatchError
			if !errors.As(err, &batch) || len(batch.Failed) != 1 || len(m) != 0 {
				t.Errorf("GetMany = %v, %v", m, err)
			}
			wantDecodeError(t, err, "k")
			_, err = c.GetOrSetValue(t.Context(), "k", user{})
			if name != "empty" { // which Redis cannot tell from nothing
				wantDecodeError(t, err, "k")
			}
			prepare()
			before := client.Stats().DecodeErrors
			if got, err := c.GetOrSet(t.Context(), "k", constant(ada)); err != nil || got != ada {
				t.Fatalf("GetOrSet = %v, %v", got, err)
			}
			if after := client.Stats().DecodeErrors; after != before+1 {
				t.Errorf("%d decode errors counted, want 1", after-before)
			}
			wantGet(t, remoteOnly[user](t, ns, "c"), "k", ada)
			prepare()
			many, err := c.GetOrSetMany(t.Context(), []string{"k"}, func(context.Context, []string) (map[string]user, error) { return map[string]user{"k": ada}, nil })
			if err != nil || many["k"] != ada {
				t.Fatalf("GetOrSetMany = %v, %v", many, err)
			}
			wantGet(t, remoteOnly[user](t, ns, "c"), "k", ada)
		})
	}
}

func TestGet_recordOfALaterVersionIsAMissAndLeftAlone(t *testing.T) {
	t.Parallel()
	rdb := shared.Client(t)
	ns := namespace(t)
	client := coherent(t, rdb, tiered.Options{Namespace: ns})
	c := newCache[user](t, client, "c", tiered.CacheOptions{})
	check(t, c.Set(t.Context(), "k", ada))
	key := ns + ":c:k"
	check(t, rdb.SetRange(t.Context(), key, 41, "\x02").Err())
	later := rdb.Get(t.Context(), key).Val()
	fresh := newCache[user](t, coherent(t, rdb, tiered.Options{Namespace: ns}), "c", tiered.CacheOptions{})
	wantMissing(t, fresh, "k")
	if got, err := fresh.GetOrSet(t.Context(), "k", constant(user{ID: 1})); err != nil || got.ID != 1 {
		t.Errorf("GetOrSet = %v, %v", got, err)
	}
	if got, err := fresh.GetOrSetMany(t.Context(), []string{"k"}, func(context.Context, []string) (map[string]user, error) {
		return map[string]user{"k": {ID: 1}}, nil
	}); err != nil || got["k"].ID != 1 {
		t.Errorf("GetOrSetMany = %v, %v", got, err)
	}
	if stored, err := fresh.SetIfAbsent(t.Context(), "k", user{}); stored || err != nil {
		t.Errorf("SetIfAbsent = %t, %v", stored, err)
	}
	if now := rdb.Get(t.Context(), key).Val(); now != later {
		t.Error("the record of a later version was overwritten by a fill")
	}
	check(t, fresh.Set(t.Context(), "k", ada)) // a Set is asked for
	wantGet(t, fresh, "k", ada)
}

func TestErrWrongType_isReportedAndNotOverwrittenByALoad(t *testing.T) {
	t.Parallel()
	rdb := shared.Client(t)
	ns := namespace(t)
	c := newCache[string](t, coherent(t, rdb, tiered.Options{Namespace: ns}), "c", tiered.CacheOptions{})
	check(t, rdb.RPush(t.Context(), ns+":c:k", "theirs").Err())
	_, err := c.Get(t.Context(), "k")
	wantErr(t, err, tiered.ErrWrongType)
	if got, err := c.GetOrSet(t.Context(), "k", constant("v")); err != nil || got != "v" {
		t.Errorf("GetOrSet = %q, %v", got, err)
	}
	if n := rdb.LLen(t.Context(), ns+":c:k").Val(); n != 1 {
		t.Error("a fill overwrote what is somebody else's")
	}
	_, err = c.Increment(t.Context(), "k", 1)
	wantErr(t, err, tiered.ErrNotNumeric)
	if found, err := c.Delete(t.Context(), "k"); err != nil || !found {
		t.Errorf("Delete = %t, %v", found, err)
	}
	wantMissing(t, c, "k")
}

// A value of a Cache[any], or of maps and lists of any, looks the same in whichever tier it is
// found.
func TestGet_givesDynamicValuesAlikeFromBothTiers(t *testing.T) {
	t.Parallel()
	t.Run("any", func(t *testing.T) {
		for i, v := range []any{1, int8(2), uint64(1 << 63), 1.5, "s", true, nil, []int{1, 2}, map[string]int{"a": 1}, ada, []byte("bytes"), map[string]any{"n": []any{1, "x"}}} {
			wantSameLocalAndRemote[any](t, fmt.Sprint(i), v)
		}
	})
	t.Run("map", func(t *testing.T) {
		wantSameLocalAndRemote(t, "k", map[string]any{"n": 1, "list": []int{1}, "nil": nil})
	})
	t.Run("list", func(t *testing.T) { wantSameLocalAndRemote(t, "k", []any{1, "a", map[string]int{"b": 2}}) })
}

func wantSameLocalAndRemote[V any](t *testing.T, key string, v V) {
	t.Helper()
	ns, clients, caches := fleet[V](t, 1, tiered.CacheOptions{})
	c, raw := caches[0], remoteOnly[V](t, ns, "c")
	check(t, c.Set(t.Context(), key, v))
	hits := clients[0].Stats().LocalHits
	copied, err := c.Get(t.Context(), key)
	check(t, err)
	if clients[0].Stats().LocalHits != hits+1 {
		t.Errorf("%T: the local tier did not keep it", v)
	}
	remote, err := raw.Get(t.Context(), key)
	check(t, err)
	if !reflect.DeepEqual(copied, remote) {
		t.Errorf("%#v: local %#v, remote %#v", v, copied, remote)
	}
	loaded, err := c.GetOrSet(t.Context(), key+"/loaded", constant(v))
	check(t, err)
	if !reflect.DeepEqual(loaded, remote) {
		t.Errorf("%#v: loaded %#v, remote %#v", v, loaded, remote)
	}
}

func TestNewCache_handlesOfOneNameShareACache(t *testing.T) {
	t.Parallel()
	client := coherent(t, shared.Client(t), tiered.Options{})
	a := newCache[user](t, client, "c", tiered.CacheOptions{})
	b := newCache[user](t, client, "c", tiered.CacheOptions{TTL: tiered.NoExpiration})
	check(t, a.Set(t.Context(), "k", ada))
	wantGet(t, b, "k", ada)
	if s := client.Stats(); len(s.Caches) != 1 || s.LocalHits != 1 {
		t.Errorf("%d caches with %d local hits, want one that both handles share", len(s.Caches), s.LocalHits)
	}
	for name, err := range map[string]error{
		"type":        second(tiered.NewCache[*user](client, "c", tiered.CacheOptions{})),
		"codec":       second(tiered.NewCache[user](client, "c", tiered.CacheOptions{Codec: tiered.MessagePack()})),
		"compression": second(tiered.NewCache[user](client, "c", tiered.CacheOptions{Compression: tiered.Zstd})),
	} {
		var option *tiered.OptionError
		if !errors.As(err, &option) || option.Field != "name" || !errors.Is(err, tiered.ErrInvalidOptions) {
			t.Errorf("another %s under the same name: %v", name, err)
		}
	}
}

func TestKeyring_encryptsRecords(t *testing.T) {
	t.Parallel()
	rdb := shared.Client(t)
	ns := namespace(t)
	ring := &tiered.Keyring{Active: "1", Keys: map[string][]byte{"1": []byte(strings.Repeat("k", 32))}}
	client := coherent(t, rdb, tiered.Options{Namespace: ns})
	c := newCache[string](t, client, "c", tiered.CacheOptions{Keyring: ring})
	check(t, c.Set(t.Context(), "k", "s3cret"))
	if raw := rdb.Get(t.Context(), ns+":c:k").Val(); strings.Contains(raw, "s3cret") || raw == "" {
		t.Error("the remote tier holds the value in clear")
	}
	other := newCache[string](t, coherent(t, rdb, tiered.Options{Namespace: ns}), "c", tiered.CacheOptions{Keyring: ring})
	wantGet(t, other, "k", "s3cret")
	_, err := stranger[string](t, ns).Get(t.Context(), "k")
	wantDecodeError(t, err, "k")
	// A record moved to another key is not taken for that key's.
	raw := rdb.Get(t.Context(), ns+":c:k").Val()
	check(t, rdb.Set(t.Context(), ns+":c:j", raw, 0).Err())
	_, err = other.Get(t.Context(), "j")
	wantDecodeError(t, err, "j")
	numbers := newCache[int64](t, client, "numbers", tiered.CacheOptions{Keyring: ring})
	check(t, numbers.Set(t.Context(), "n", 1))
	_, err = numbers.Increment(t.Context(), "n", 1)
	wantErr(t, err, tiered.ErrNotNumeric)
	wantGet(t, numbers, "n", 1)
	for _, bad := range []*tiered.Keyring{{}, {Active: "2", Keys: ring.Keys}, {Active: "1", Keys: map[string][]byte{"1": []byte("s3cret and short")}}} {
		_, err := tiered.NewCache[string](client, "bad", tiered.CacheOptions{Keyring: bad})
		wantErr(t, err, tiered.ErrInvalidOptions)
		if strings.Contains(err.Error(), "s3cret") {
			t.Error("the error shows a key")
		}
	}
}

func TestMaxValueBytes_refusesLargerValues(t *testing.T) {
	t.Parallel()
	client, c := one[string](t, tiered.CacheOptions{MaxValueBytes: 100})
	huge := strings.Repeat("x", 101)
	check(t, c.Set(t.Context(), "k", "small"))
	wantErr(t, c.Set(t.Context(), "k", huge), tiered.ErrValueTooLarge)
	wantGet(t, c, "k", "small")
	n, err := c.SetMany(t.Context(), []tiered.Item[string]{{Key: "a", Value: huge}, {Key: "b", Value: "ok"}})
	var batch *tiered.BatchError
	if n != 1 || !errors.As(err, &batch) || !errors.Is(batch.Failed["a"], tiered.ErrValueTooLarge) {
		t.Errorf("SetMany = %d, %v", n, err)
	}
	_, err = c.SetIfAbsent(t.Context(), "new", huge)
	wantErr(t, err, tiered.ErrValueTooLarge)
	_, err = c.GetOrSetValue(t.Context(), "new", huge)
	wantErr(t, err, tiered.ErrValueTooLarge)
	if got, err := c.GetOrSet(t.Context(), "new", constant(huge)); err != nil || got != huge {
		t.Errorf("GetOrSet: %d bytes, %v", len(got), err)
	}
	if s := client.Stats(); s.StoreErrors != 1 {
		t.Errorf("%d store errors counted, want 1", s.StoreErrors)
	}
	wantMissing(t, c, "new")
	if got, err := c.GetOrSet(t.Context(), "new", constant("fits")); err != nil || got != "fits" {
		t.Errorf("GetOrSet = %q, %v", got, err)
	}
	if s := client.Stats(); s.Fills != 1 {
		t.Errorf("%d fills, want 1: the lease of the load before was not given back", s.Fills)
	}
}

func TestSet_takesOddKeys(t *testing.T) {
	t.Parallel()
	ns, _, caches := fleet[string](t, 1, tiered.CacheOptions{})
	c, raw := caches[0], remoteOnly[string](t, ns, "c")
	keys := []string{" ", "\x00", "\xff\xfe", "*", "[a-z]", `\`, "{tag}", "a:b:c", "::", "é", "世界", "\r\n", strings.Repeat("x", tiered.MaxKeyBytes)}
	for i, k := range keys {
		check(t, c.Set(t.Context(), k, fmt.Sprint(i)))
	}
	for i, k := range keys {
		wantGet(t, c, k, fmt.Sprint(i))
		wantGet(t, raw, k, fmt.Sprint(i))
	}
	m, err := raw.GetMany(t.Context(), keys)
	if err != nil || len(m) != len(keys) {
		t.Errorf("GetMany found %d of %d, %v", len(m), len(keys), err)
	}
	if n, err := c.Count(t.Context(), `\*`); err != nil || n != 1 {
		t.Errorf(`Count(\*) = %d, %v`, n, err)
	}
	if n, err := c.Clear(t.Context(), ""); err != nil || n != len(keys) {
		t.Errorf("Clear = %d, %v, want %d", n, err, len(keys))
	}
}

func TestErrInvalidKey_isReportedByEveryMethod(t *testing.T) {
	t.Parallel()
	_, c := one[int64](t, tiered.CacheOptions{})
	for _, key := range []string{"", strings.Repeat("s3cret", 200)} {
		for name, err := range perKey(t.Context(), c, key) {
			if !errors.Is(err, tiered.ErrInvalidKey) {
				t.Errorf("%s: %v, want ErrInvalidKey", name, err)
				continue
			}
			if text := err.Error(); strings.Contains(text, "s3cret") || !strings.Contains(text, fmt.Sprintf("has %d bytes, must have 1 to 1024", len(key))) {
				t.Errorf("%s: %q does not say what is wrong, or shows the key", name, text)
			}
		}
	}
}

// perKey calls every method that takes a key with this one.
func perKey(ctx context.Context, c *tiered.Cache[int64], key string) map[string]error {
	keys := []string{key}
	return map[string]error{
		"Get":           second(c.Get(ctx, key)),
		"GetMany":       second(c.GetMany(ctx, keys)),
		"GetOrSet":      second(c.GetOrSet(ctx, key, constant(int64(1)))),
		"GetOrSetMany":  second(c.GetOrSetMany(ctx, keys, func(context.Context, []string) (map[string]int64, error) { return map[string]int64{key: 1}, nil })),
		"GetOrSetValue": second(c.GetOrSetValue(ctx, key, 1)),
		"Set":           c.Set(ctx, key, 1),
		"SetMany":       second(c.SetMany(ctx, []tiered.Item[int64]{{Key: key, Value: 1}})),
		"SetIfAbsent":   second(c.SetIfAbsent(ctx, key, 1)),
		"Delete":        second(c.Delete(ctx, key)),
		"DeleteMany":    second(c.DeleteMany(ctx, keys)),
		"Exists":        second(c.Exists(ctx, key)),
		"ExistsMany":    second(c.ExistsMany(ctx, keys)),
		"Increment":     second(c.Increment(ctx, key, 1)),
		"TTL":           second(c.TTL(ctx, key)),
		"Expire":        second(c.Expire(ctx, key, 1)),
	}
}
