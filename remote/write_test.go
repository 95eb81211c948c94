package remote

import (
	"strings"
	"testing"
	"time"
)

func TestSet_replacesAnything(t *testing.T) {
	s, rdb := onShared(t)
	for _, c := range anything {
		t.Run(c.name, func(t *testing.T) {
			key := t.Name()
			c.put(t, rdb, key)
			r := value("new")
			must(t, s.Set(t.Context(), key, r, nil))
			stored, err := ParseRecord(key, raw(t, rdb, key))
			must(t, err)
			r.Created = stored.Created // the server's own time
			wantRaw(t, rdb, key, encode(t, key, r))
			if left := rdb.PTTL(t.Context(), key).Val(); left <= 0 || left > time.Hour {
				t.Errorf("kept for %v", left)
			}
			r.TTL, r.Grace = 0, time.Hour
			must(t, s.Set(t.Context(), key, r, nil))
			if left := rdb.PTTL(t.Context(), key).Val(); left != -1 {
				t.Errorf("a value without end is kept for %v", left)
			}
		})
	}
}

func TestSetIfAbsent_followsTheEntriesThatUsersSee(t *testing.T) {
	s, rdb := onShared(t)
	for _, c := range anything {
		t.Run(c.name, func(t *testing.T) {
			key := t.Name()
			c.put(t, rdb, key)
			before := dump(t, rdb, key)
			r := value("new")
			stored, found, err := s.SetIfAbsent(t.Context(), key, r, 0, nil)
			if stored == c.present {
				t.Fatalf("stored is %v", stored)
			}
			if stored {
				wantErr(t, err)
				wantDated(t, rdb, key, r)
				if left := rdb.PTTL(t.Context(), key).Val(); left <= 0 || left > time.Hour {
					t.Errorf("kept for %v", left)
				}
				return
			}
			wantRead(t, err, c.read)
			if c.read == nil && string(found.Payload) != "v" {
				t.Errorf("found %q", found.Payload)
			}
			if dump(t, rdb, key) != before {
				t.Error("what was there has changed")
			}
		})
	}
}

func TestDelete_removesAnything(t *testing.T) {
	s, rdb := onShared(t)
	for _, c := range anything {
		t.Run(c.name, func(t *testing.T) {
			for name, remove := range map[string]func(key string) (bool, error){
				"Delete": func(key string) (bool, error) { return s.Delete(t.Context(), key, 0, nil) },
				"DeleteMany": func(key string) (bool, error) {
					existed, errs := s.DeleteMany(t.Context(), deletions([]string{key}, 0))
					return existed[0], errs[0]
				},
			} {
				key := t.Name() + name
				c.put(t, rdb, key)
				existed, err := remove(key)
				if existed != c.present || err != nil {
					t.Errorf("%s: existed %v, %v", name, existed, err)
				}
				if rdb.Exists(t.Context(), key).Val() != 0 {
					t.Errorf("%s: something is still there", name)
				}
			}
		})
	}
}

func TestExists_followsTheEntriesThatUsersSee(t *testing.T) {
	s, rdb := onShared(t)
	keys, want := []string{}, []bool{}
	for _, c := range anything {
		key := t.Name() + c.name
		c.put(t, rdb, key)
		keys, want = append(keys, key), append(want, c.present)
		if got, err := exists(t.Context(), s, key, 0); got != c.present || err != nil {
			t.Errorf("%s: %v, %v", c.name, got, err)
		}
	}
	got, errs := existsMany(t.Context(), s, keys, 0)
	for i := range keys {
		if got[i] != want[i] || errs[i] != nil {
			t.Errorf("%s: %v, %v", keys[i], got[i], errs[i])
		}
	}
}

// Every change publishes its message, once; a call that changes nothing publishes nothing; but a
// Delete of a missing entry is announced, since others may hold a copy.
func TestLane_eachChangeAnnouncesItself(t *testing.T) {
	s, rdb := onShared(t)
	ch := subscribe(t, rdb)
	ctx, key := t.Context(), t.Name()+"key"
	m := news("message")
	for _, c := range []struct {
		name string
		do   func() error
		want []string
	}{
		{"Set", func() error { return s.Set(ctx, key, value("v"), m) }, []string{"message"}},
		{"Set without a message", func() error { return s.Set(ctx, key, value("v"), nil) }, nil},
		{"SetIfAbsent lost", func() error { _, _, err := s.SetIfAbsent(ctx, key, value("v"), 0, m); return err }, nil},
		{"SetIfAbsent won", func() error { _, _, err := s.SetIfAbsent(ctx, key+"2", value("v"), 0, m); return err }, []string{"message"}},
		{"Delete", func() error { _, err := s.Delete(ctx, key, 0, m); return err }, []string{"message"}},
		{"Delete of nothing", func() error { _, err := s.Delete(ctx, key, 0, m); return err }, []string{"message"}},
		{"Expire of nothing", func() error { _, err := setTTL(ctx, s, key, time.Hour, 0, m); return err }, nil},
		{"Increment of nothing", func() error { _, err := increment(ctx, s, key, 1, nil, number(0), 0, m); return err }, []string{"message"}},
		{"Increment", func() error { _, err := increment(ctx, s, key, 1, nil, number(0), 0, m); return err }, []string{"message"}},
		{"Increment out of bounds", func() error {
			_, err := increment(ctx, s, key, 1, &Bounds{0, 2}, number(0), 0, m)
			wantErr(t, err, ErrOverflow)
			return nil
		}, nil},
		{"Expire", func() error { _, err := setTTL(ctx, s, key, time.Hour, 0, m); return err }, []string{"message"}},
		{"Publish", func() error { return s.Publish(ctx, 0, m.Message) }, []string{"message"}},
		{"SetMany", func() error {
			errs := s.SetMany(ctx, []Write{{key, value("v"), news("1")}, {key + "3", value("v"), news("2")}, {strings.Repeat("x", 1<<16), value("v"), news("3")}, {key + "4", value("v"), nil}})
			wantErr(t, errs[2], ErrTooLarge)
			return errs[0]
		}, []string{"1", "2"}},
		{"DeleteMany", func() error {
			_, errs := s.DeleteMany(ctx, deletions([]string{key, key + "none"}, 0, news("1"), news("2")))
			return errs[0]
		}, []string{"1", "2"}},
		{"Acquire, Fill, Release", func() error {
			token := NewToken()
			_, _, err := s.Acquire(ctx, LeaseRequest{Key: key + "5", Token: token}, time.Minute)
			_, _ = s.Release(ctx, key+"5", token[:])
			return err
		}, nil},
		{"reads", func() error {
			_, _ = s.Get(ctx, key)
			_, _ = exists(ctx, s, key, 0)
			_, _, _ = ttlOf(ctx, s, key, 0)
			_, err := countKeys(ctx, s, t.Name(), "", 0)
			return err
		}, nil},
		{"Clear", func() error { _, err := clearKeys(ctx, s, t.Name(), "", 0, 0); return err }, nil},
	} {
		if err := c.do(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		t.Log(c.name)
		ch.want(t, rdb, c.want...)
	}
}

func TestLane_isNotUsedWithoutANamespace(t *testing.T) {
	rdb := shared.Client(t)
	s := newStore(t, rdb, func(o *Options) { o.Namespace = "" })
	ch := subscribe(t, rdb)
	m := news("message")
	must(t, s.Set(t.Context(), t.Name(), value("v"), m))
	_, err := s.Delete(t.Context(), t.Name(), 0, m)
	must(t, err)
	must(t, s.Publish(t.Context(), 0, m.Message))
	must(t, s.Announce(t.Context(), m))
	floors, err := s.Floors(t.Context(), 0)
	if len(floors) != 0 || err != nil || m.ID != 0 {
		t.Errorf("floors %v, %v, id %d", floors, err, m.ID)
	}
	ch.want(t, rdb)
	if got := kept(t, rdb, t.Name(), 0); got != nil {
		t.Errorf("announced %v", got)
	}
}
