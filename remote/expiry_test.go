package remote

import (
	"bytes"
	"testing"
	"time"
)

func TestExpire_givesAnotherLife(t *testing.T) {
	s, rdb := onShared(t)
	for _, c := range anything {
		t.Run(c.name, func(t *testing.T) {
			key := t.Name()
			c.put(t, rdb, key)
			before := dump(t, rdb, key)
			had, err := setTTL(t.Context(), s, key, 10*time.Minute, 0, nil)
			if c.typ {
				wantErr(t, err, ErrWrongType)
			} else {
				wantErr(t, err)
			}
			if c.typ || !c.present {
				if had || dump(t, rdb, key) != before {
					t.Errorf("had %v, or something has changed", had)
				}
				return
			}
			if left := rdb.PTTL(t.Context(), key).Val(); !had || left > 10*time.Minute || left < 9*time.Minute {
				t.Errorf("had %v, kept for %v", had, left)
			}
			if had, err := setTTL(t.Context(), s, key, 0, 0, nil); !had || err != nil {
				t.Errorf("for ever: %v, %v", had, err)
			}
			if left := rdb.PTTL(t.Context(), key).Val(); left != -1 {
				t.Errorf("for ever is %v", left)
			}
		})
	}
}

func TestExpire_changesTheRecordsOwnLife(t *testing.T) {
	s, rdb := onShared(t)
	const day = 24 * time.Hour
	for _, c := range []struct {
		name              string
		life, grace, kept time.Duration
		ttl               time.Duration
	}{
		{"without grace", 10 * time.Minute, 0, 10 * time.Minute, 10 * time.Minute},
		{"with grace", 10 * time.Minute, 5 * time.Minute, 15 * time.Minute, 10 * time.Minute},
		{"with a grace in seconds", 10 * time.Minute, 30 * day, 30*day + 10*time.Minute, 10 * time.Minute},
		{"months", 60 * day, 0, 60 * day, 60 * day},
		{"for ever", 0, time.Minute, -1, 0},
		{"a nanosecond", 1, time.Hour, time.Hour + time.Millisecond, time.Millisecond},
		{"the longest", MaxTTL, time.Minute, MaxTTL + time.Minute, MaxTTL},
		{"longer than the longest", MaxTTL + 1, time.Minute, -1, 0},
		{"without bound", 1<<63 - 1, 0, -1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			key := t.Name()
			r := value("v")
			r.Grace, r.Stamp, r.LoadTime, r.Tags, r.Number = c.grace, 7, time.Second, []Tag{{"tag", Token{3}}}, true
			r.Created = time.UnixMilli(time.Now().Add(-time.Minute).UnixMilli())
			put(t, rdb, key, r)
			began := time.Now().Add(-time.Millisecond)
			had, err := setTTL(t.Context(), s, key, c.life, 0, nil)
			if !had || err != nil {
				t.Fatal(had, err)
			}
			left := rdb.PTTL(t.Context(), key).Val()
			if left > c.kept || c.kept > 0 && left < c.kept-time.Minute || c.kept == -1 && left != -1 {
				t.Errorf("kept for %v, want %v", left, c.kept)
			}
			got, err := ParseRecord(key, raw(t, rdb, key))
			must(t, err)
			if got.Token == r.Token {
				t.Error("a fill that saw the old life would be let in")
			}
			if got.TTL != c.ttl || got.Created.Before(began) || got.Created.After(time.Now()) {
				t.Errorf("TTL %v, created %v", got.TTL, got.Created)
			}
			got.Token, got.TTL, got.Created = r.Token, r.TTL, r.Created
			if !sameRecord(&got, r) {
				t.Errorf("something else has changed: %+v", got)
			}
		})
	}
}

func TestTTL_isTheLifeThatUsersSee(t *testing.T) {
	s, rdb := onShared(t)
	for _, c := range anything {
		t.Run(c.name, func(t *testing.T) {
			key := t.Name()
			c.put(t, rdb, key)
			left, forever, err := ttlOf(t.Context(), s, key, 0)
			switch {
			case c.typ:
				wantErr(t, err, ErrWrongType)
			case !c.present:
				wantErr(t, err, ErrNotFound)
			case err != nil || forever || left <= 0 || left > time.Hour:
				t.Errorf("%v, %v, %v", left, forever, err)
			}
		})
	}
	r := value("v")
	r.TTL, r.Grace = 10*time.Minute, time.Hour
	key := t.Name()
	must(t, s.Set(t.Context(), key, r, nil))
	if left, forever, err := ttlOf(t.Context(), s, key, 0); err != nil || forever || left > 10*time.Minute || left < 9*time.Minute {
		t.Errorf("with grace: %v, %v, %v", left, forever, err)
	}
	r.TTL = 0
	must(t, s.Set(t.Context(), key, r, nil))
	if left, forever, err := ttlOf(t.Context(), s, key, 0); err != nil || !forever || left != 0 {
		t.Errorf("without end: %v, %v, %v", left, forever, err)
	}
	putRaw(t, rdb, key, "garbage")
	must(t, rdb.Persist(t.Context(), key).Err())
	if left, forever, err := ttlOf(t.Context(), s, key, 0); err != nil || !forever {
		t.Errorf("garbage without end: %v, %v, %v", left, forever, err)
	}
}

func TestTagVersions_liveAsLongAsTheirEntries(t *testing.T) {
	s, rdb := onShared(t)
	ctx, a, b := t.Context(), t.Name()+"a", t.Name()+"b"
	hour, forever := time.Hour, time.Duration(0)
	kept := func(key string) time.Duration { return rdb.PTTL(ctx, key).Val() }

	none, err := s.TagVersions(ctx, []string{a, b}, nil)
	if err != nil || none[0] != (Token{}) || none[1] != (Token{}) || rdb.Exists(ctx, a, b).Val() != 0 {
		t.Fatalf("reading made versions: %v, %v", none, err)
	}
	made, err := s.TagVersions(ctx, []string{a, b}, &hour)
	if err != nil || made[0] == (Token{}) || made[0] == made[1] {
		t.Fatalf("%v, %v", made, err)
	}
	read, err := s.TagVersions(ctx, []string{b, a}, nil)
	if err != nil || read[0] != made[1] || read[1] != made[0] {
		t.Fatalf("%v, %v", read, err)
	}

	// A version lives at least as long as the entry that is about to carry it, and is never cut
	// short.
	for _, c := range []struct {
		life     time.Duration
		min, max time.Duration
	}{
		{time.Minute, 59 * time.Minute, time.Hour},
		{2 * time.Hour, 119 * time.Minute, 2 * time.Hour},
		{time.Hour, 119 * time.Minute, 2 * time.Hour},
		{forever, -1, -1},
		{time.Minute, -1, -1},
	} {
		again, err := s.TagVersions(ctx, []string{a}, &c.life)
		if err != nil || again[0] != made[0] {
			t.Errorf("%v: %v, %v", c.life, again, err)
		}
		if left := kept(a); left < c.min || left > c.max {
			t.Errorf("after an entry of %v: kept for %v", c.life, left)
		}
	}

	// What is no version is replaced, of whatever type it is; until then there is none.
	putRaw(t, rdb, b, "garbage")
	fresh, err := s.TagVersions(ctx, []string{b}, &hour)
	if err != nil || !bytes.Equal(fresh[0][:], raw(t, rdb, b)) {
		t.Errorf("%x, %v", fresh, err)
	}
	must(t, rdb.Del(ctx, b).Err())
	must(t, rdb.RPush(ctx, b, "x").Err())
	if got, err := s.TagVersions(ctx, []string{b}, nil); err != nil || got[0] != (Token{}) {
		t.Errorf("a list passed for a version: %x, %v", got, err)
	}
	fresh, err = s.TagVersions(ctx, []string{b}, &hour)
	if err != nil || fresh[0] == (Token{}) || !bytes.Equal(fresh[0][:], raw(t, rdb, b)) {
		t.Errorf("a list was not replaced: %x, %v", fresh, err)
	}
	if got, err := s.TagVersions(ctx, nil, nil); len(got) != 0 || err != nil {
		t.Errorf("no tags: %v, %v", got, err)
	}
}
