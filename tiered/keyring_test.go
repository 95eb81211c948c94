package tiered_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/doppio-cache/doppio/remote"
	"github.com/doppio-cache/doppio/tiered"
)

// A program that may write to Redis changes the records of a cache with a keyring: most of them do
// not decode then, and SECURITY.md says which do.
func TestKeyring_withstandsAWriterOfRedis(t *testing.T) {
	t.Parallel()
	rdb, ns, ctx := shared.Client(t), namespace(t), t.Context()
	o := tiered.CacheOptions{TTL: time.Hour, Keyring: &tiered.Keyring{Active: "k", Keys: map[string][]byte{"k": []byte(strings.Repeat("x", 32))}}}
	writer := newCache[string](t, coherent(t, rdb, tiered.Options{Namespace: ns}), "c", o)
	key := func(k string) string { return ns + ":c:" + k }
	stored := func(k string) remote.Record {
		t.Helper()
		r, err := remote.ParseRecord(key(k), []byte(rdb.Get(ctx, key(k)).Val()))
		check(t, err)
		return r
	}
	put := func(k string, r remote.Record) {
		t.Helper()
		b, err := remote.AppendRecord(nil, key(k), &r)
		check(t, err)
		check(t, rdb.Set(ctx, key(k), b, time.Hour).Err())
	}
	check(t, writer.Set(ctx, "k", "balance=100"))
	check(t, writer.Set(ctx, "other", "balance=7"))
	check(t, writer.Set(ctx, "tagged", "tagged", tiered.Tags("t")))
	check(t, writer.InvalidateTags(ctx, "t"))
	check(t, writer.Set(ctx, "new", "new", tiered.Tags("t")))
	plain, tagged, fresh := stored("k"), stored("tagged"), stored("new")
	old := rdb.Get(ctx, key("k")).Val()
	check(t, writer.Set(ctx, "k", "balance=0"))

	for _, c := range []struct {
		name, key string
		do        func()
		want      string
		err       error // errDecode: it does not decode
	}{
		{"another key's value", "k", func() { r := plain; r.Payload = stored("other").Payload; put("k", r) }, "", errDecode},
		{"another key's record", "k", func() { check(t, rdb.Set(ctx, key("k"), rdb.Get(ctx, key("other")).Val(), 0).Err()) }, "", errDecode},
		{"tags taken away", "tagged", func() { r := tagged; r.Tags = nil; put("tagged", r) }, "", errDecode},
		{"tags renamed", "tagged", func() {
			r := tagged
			r.Tags = []remote.Tag{{Name: "u", Version: fresh.Tags[0].Version}}
			put("tagged", r)
		}, "", tiered.ErrNotFound},
		{"versions of tags renewed", "tagged", func() { r := tagged; r.Tags = fresh.Tags; put("tagged", r) }, "", errDecode},
		{"tags added", "k", func() { r := plain; r.Tags = fresh.Tags; put("k", r) }, "", errDecode},
		{"a number", "k", func() { r := plain; r.Number, r.Payload = true, []byte("7"); put("k", r) }, "", errDecode},
		{"a changed byte", "k", func() {
			r := plain
			r.Payload = []byte(string(r.Payload))
			r.Payload[len(r.Payload)-1] ^= 1
			put("k", r)
		}, "", errDecode},

		// What cannot be authenticated, as SECURITY.md says.
		{"a longer life", "k", func() { r := plain; r.TTL, r.Grace = 0, 0; put("k", r) }, "balance=100", nil},
		{"the old record put back", "k", func() { check(t, rdb.Set(ctx, key("k"), old, 0).Err()) }, "balance=100", nil},
		{"a forged negative", "k", func() { r := plain; r.Kind, r.Payload = remote.KindNegative, nil; put("k", r) }, "", tiered.ErrNotFound},
		{"removed", "k", func() { check(t, rdb.Del(ctx, key("k")).Err()) }, "", tiered.ErrNotFound},
	} {
		c.do()
		reader := newCache[string](t, coherent(t, rdb, tiered.Options{Namespace: ns}), "c", o)
		got, err := reader.Get(ctx, c.key)
		decode := (*tiered.DecodeError)(nil)
		switch {
		case errors.Is(c.err, errDecode):
			if !errors.As(err, &decode) || got != "" {
				t.Errorf("%s: %q, %v, want a *DecodeError", c.name, got, err)
			}
		case got != c.want || !errors.Is(err, c.err):
			t.Errorf("%s: %q, %v, want %q, %v", c.name, got, err, c.want, c.err)
		}
	}
}

// errDecode stands for any *DecodeError.
var errDecode = errors.New("a *DecodeError")
