package conformance

import (
	"context"
	"testing"
	"time"

	"github.com/doppio-cache/doppio/tiered"
)

// storing is one way to store the int64 9 under "k", with options.
type storing struct {
	op string
	do func(t *testing.T, c *tiered.Cache[int64], opts ...tiered.EntryOption) error
}

var storings = []storing{
	{op: "Set", do: func(t *testing.T, c *tiered.Cache[int64], opts ...tiered.EntryOption) error {
		return c.Set(t.Context(), "k", newValue, opts...)
	}},
	{op: "SetIfAbsent", do: func(t *testing.T, c *tiered.Cache[int64], opts ...tiered.EntryOption) error {
		_, err := c.SetIfAbsent(t.Context(), "k", newValue, opts...)
		return err
	}},
	{op: "GetOrSet", do: func(t *testing.T, c *tiered.Cache[int64], opts ...tiered.EntryOption) error {
		_, err := c.GetOrSet(t.Context(), "k", loadNew, opts...)
		return err
	}},
	{op: "GetOrSetMany", do: func(t *testing.T, c *tiered.Cache[int64], opts ...tiered.EntryOption) error {
		_, err := c.GetOrSetMany(t.Context(), []string{"k"}, loadNewMany, opts...)
		return err
	}},
	{op: "GetOrSetValue", do: func(t *testing.T, c *tiered.Cache[int64], opts ...tiered.EntryOption) error {
		_, err := c.GetOrSetValue(t.Context(), "k", newValue, opts...)
		return err
	}},
}

// setItem is SetMany's way.
func setItem(t *testing.T, c *tiered.Cache[int64], ttl time.Duration, tags ...string) error {
	t.Helper()
	_, err := c.SetMany(t.Context(), []tiered.Item[int64]{{Key: "k", Value: newValue, TTL: ttl, Tags: tags}})
	return err
}

// storingRows makes a row for every way to store with a TTL.
func storingRows(name string, ttl time.Duration, o tiered.CacheOptions, run func(t *testing.T, e *env, w, r *tiered.Cache[int64], err error)) []row {
	rows := []row{{op: "SetMany", name: name, run: func(t *testing.T, e *env) {
		w, r := pair[int64](t, e, o)
		run(t, e, w, r, setItem(t, w, ttl))
	}}}
	for _, s := range storings {
		rows = append(rows, row{op: s.op, name: name, run: func(t *testing.T, e *env) {
			w, r := pair[int64](t, e, o)
			run(t, e, w, r, s.do(t, w, tiered.TTL(ttl)))
		}})
	}
	return rows
}

// lifeRows: how long entries live, however they are stored.
func lifeRows() []row {
	lives := func(least, most time.Duration) func(*testing.T, *env, *tiered.Cache[int64], *tiered.Cache[int64], error) {
		return func(t *testing.T, _ *env, _, r *tiered.Cache[int64], err error) {
			check(t, err)
			ttlWithin(t, r, "k", least, most)
		}
	}
	gone := func(t *testing.T, e *env, w, r *tiered.Cache[int64], err error) {
		check(t, err)
		e.becomes(t, "k", "gone")
		sees(t, w, "k", 0, tiered.ErrNotFound)
		sees(t, r, "k", 0, tiered.ErrNotFound)
	}
	forever := func(t *testing.T, e *env, _, r *tiered.Cache[int64], err error) {
		check(t, err)
		want(t, tiered.NoExpiration)(r.TTL(t.Context(), "k"))
		want(t, time.Duration(-1))(e.raw.PTTL(t.Context(), e.remoteKey("k")).Result())
		finds(t, r, "k", newValue, nil)
	}
	const day = 24 * time.Hour
	var none tiered.CacheOptions
	return concat(
		storingRows("TTL/zero is the default", 0, none, lives(tiered.DefaultTTL-time.Minute, tiered.DefaultTTL)),
		storingRows("TTL/the cache's", 0, tiered.CacheOptions{TTL: 5 * time.Minute}, lives(4*time.Minute, 5*time.Minute)),
		storingRows("TTL/the call's", 3*time.Minute, tiered.CacheOptions{TTL: 5 * time.Minute}, lives(2*time.Minute, 3*time.Minute)),
		storingRows("TTL/beyond 32 bits of ms", 100*day, none, lives(100*day-time.Minute, 100*day)),
		storingRows("TTL/ten years", 3650*day, none, lives(3650*day-time.Minute, 3650*day)),
		storingRows("TTL/1 ms", time.Millisecond, none, gone),
		storingRows("TTL/1 ns", time.Nanosecond, none, gone),
		storingRows("TTL/for ever", tiered.NoExpiration, none, forever),
		storingRows("TTL/the cache's for ever", 0, tiered.CacheOptions{TTL: tiered.NoExpiration}, forever),
		storingRows("TTL/jitter", 10*time.Minute, tiered.CacheOptions{Jitter: 2 * time.Minute}, lives(7*time.Minute, 10*time.Minute)),
		storingRows("TTL/negative", -time.Second, none, func(t *testing.T, e *env, _, r *tiered.Cache[int64], err error) {
			wantErr(t, err, tiered.ErrInvalidOptions)
			want(t, "gone")(e.stored(t, "k"), nil)
			finds(t, r, "k", 0, tiered.ErrNotFound)
		}),
		storingRows("LocalTTL", 0, tiered.CacheOptions{LocalTTL: time.Millisecond}, func(t *testing.T, e *env, w, _ *tiered.Cache[int64], err error) {
			check(t, err)
			// Nobody announces this: only the end of the local copy's life shows it.
			check(t, e.raw.Del(t.Context(), e.remoteKey("k")).Err())
			sees(t, w, "k", 0, tiered.ErrNotFound)
		}),
	)
}

func ttlWithin(t *testing.T, c *tiered.Cache[int64], key string, least, most time.Duration) {
	t.Helper()
	got, err := c.TTL(t.Context(), key)
	if err != nil || got < least || got > most {
		t.Fatalf("TTL is %v, %v, want from %v to %v", got, err, least, most)
	}
}

// expireRows: another life for what is there. Local copies of the other instance learn of it.
func expireRows() []row {
	const key = "k"
	expire := func(name string, before, ttl time.Duration, then func(t *testing.T, e *env, w, r *tiered.Cache[int64])) row {
		return row{op: "Expire", name: name, run: func(t *testing.T, e *env) {
			w, r := pair[int64](t, e)
			check(t, w.Set(t.Context(), key, 5, tiered.TTL(before)))
			finds(t, r, key, 5, nil)
			want(t, true)(r.Expire(t.Context(), key, ttl))
			then(t, e, w, r)
		}}
	}
	within := func(least, most time.Duration) func(*testing.T, *env, *tiered.Cache[int64], *tiered.Cache[int64]) {
		return func(t *testing.T, _ *env, w, r *tiered.Cache[int64]) {
			ttlWithin(t, r, key, least, most)
			ttlWithin(t, w, key, least, most)
			finds(t, r, key, 5, nil)
			sees(t, w, key, 5, nil)
		}
	}
	endless := func(t *testing.T, e *env, w, r *tiered.Cache[int64]) {
		want(t, tiered.NoExpiration)(r.TTL(t.Context(), key))
		want(t, time.Duration(-1))(e.raw.PTTL(t.Context(), e.remoteKey(key)).Result())
		finds(t, w, key, 5, nil)
	}
	ends := func(t *testing.T, e *env, w, r *tiered.Cache[int64]) {
		e.becomes(t, key, "gone")
		sees(t, r, key, 0, tiered.ErrNotFound)
		sees(t, w, key, 0, tiered.ErrNotFound)
		want(t, false)(r.Exists(t.Context(), key))
	}
	faulty := func(name string, ttl time.Duration) row {
		return row{op: "Expire", name: name, run: func(t *testing.T, e *env) {
			w, r := pair[int64](t, e)
			check(t, w.Set(t.Context(), key, 5))
			_, err := r.Expire(t.Context(), key, ttl)
			wantErr(t, err, tiered.ErrInvalidOptions)
			ttlWithin(t, r, key, tiered.DefaultTTL-time.Minute, tiered.DefaultTTL)
		}}
	}
	return []row{
		expire("shorter", time.Hour, time.Minute, within(50*time.Second, time.Minute)),
		expire("longer", time.Minute, time.Hour, within(59*time.Minute, time.Hour)),
		expire("much longer", time.Minute, 1000*time.Hour, within(999*time.Hour, 1000*time.Hour)),
		expire("for ever", time.Minute, tiered.NoExpiration, endless),
		expire("an end to what had none", tiered.NoExpiration, time.Minute, within(50*time.Second, time.Minute)),
		expire("at once", time.Hour, time.Millisecond, ends),
		expire("at once what had no end", tiered.NoExpiration, time.Nanosecond, ends),
		faulty("zero", 0),
		faulty("negative", -1),
		{op: "Expire", name: "keeps the grace", run: func(t *testing.T, e *env) {
			w, r := pair[int64](t, e)
			// As with a loader and a stale value: the message of the Set has come when the reader's own copy is gone.
			check(t, r.Set(t.Context(), key, 1))
			check(t, w.Set(t.Context(), key, 5, tiered.TTL(time.Hour), tiered.FailSafe(time.Hour)))
			sees(t, r, key, 5, nil)
			want(t, true)(r.Expire(t.Context(), key, time.Millisecond))
			e.becomes(t, key, "expired")
			sees(t, r, key, 0, tiered.ErrNotFound)
			want(t, int64(5))(r.GetOrSet(t.Context(), key, func(context.Context) (int64, error) { return 0, errSource }, tiered.FailSafe(time.Hour)))
		}},
		{op: "TTL", name: "falls", run: func(t *testing.T, e *env) {
			w, r := pair[int64](t, e)
			check(t, w.Set(t.Context(), key, 5, tiered.TTL(time.Minute), tiered.FailSafe(time.Hour)))
			ttlWithin(t, r, key, 50*time.Second, time.Minute) // the grace is not part of it
			first, err := r.TTL(t.Context(), key)
			check(t, err)
			becomesTrue(t, func() bool {
				next, err := r.TTL(t.Context(), key)
				return err == nil && next < first
			})
		}},
	}
}
