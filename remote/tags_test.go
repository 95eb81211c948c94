package remote

import (
	"testing"
	"time"
)

func TestExtendTags_onlyLengthensVersionsThatExist(t *testing.T) {
	s, rdb := onShared(t)
	for _, c := range []struct {
		name       string
		before     time.Duration // 0: for ever, negative: no version
		life, want time.Duration // 0: for ever
	}{
		{"shorter", time.Minute, time.Hour, time.Hour},
		{"longer", time.Hour, time.Minute, time.Hour},
		{"to be for ever", time.Minute, 0, 0},
		{"for ever", 0, time.Minute, 0},
		{"for ever twice", 0, 0, 0},
		{"absent", -1, time.Minute, -1},
		{"absent for ever", -1, 0, -1},
	} {
		key, other := t.Name()+c.name, t.Name()+c.name+"other"
		version := "0123456789abcdef"
		if c.before >= 0 {
			must(t, rdb.Set(t.Context(), key, version, c.before).Err())
		}
		must(t, rdb.Set(t.Context(), other, version, time.Minute).Err())
		must(t, s.ExtendTags(t.Context(), []string{key, other}, c.life))
		left := rdb.PTTL(t.Context(), key).Val()
		switch {
		case c.want < 0:
			if raw(t, rdb, key) != nil {
				t.Errorf("%s: a version was made", c.name)
			}
			continue
		case c.want == 0:
			if left != -1 {
				t.Errorf("%s: %v left", c.name, left)
			}
		case left > c.want || left < c.want-slack:
			t.Errorf("%s: %v left, want %v", c.name, left, c.want)
		}
		wantRaw(t, rdb, key, []byte(version))
	}
	must(t, s.ExtendTags(t.Context(), nil, time.Hour))
}

func TestSweep_removesOnlyKeysThatHoldNothing(t *testing.T) {
	s, rdb := onShared(t)
	for _, c := range []struct {
		name, text   string
		there, sweep bool
	}{
		{"nothing", "", false, false},
		{"empty", "", true, true},
		{"a byte", "\x02", true, true},
		{"two bytes", "ab", true, false},
		{"a record", string(encode(t, t.Name()+"a record", value("v"))), true, false},
	} {
		key := t.Name() + c.name
		if c.there {
			putRaw(t, rdb, key, c.text)
		}
		swept, err := s.DeleteIfEmpty(t.Context(), key)
		if swept != c.sweep || err != nil {
			t.Errorf("%s: %v, %v", c.name, swept, err)
		}
		if there := rdb.Exists(t.Context(), key).Val() == 1; there != (c.there && !c.sweep) {
			t.Errorf("%s: there is %v", c.name, there)
		}
	}
	list := t.Name() + "list"
	must(t, rdb.RPush(t.Context(), list, "x").Err())
	if swept, err := s.DeleteIfEmpty(t.Context(), list); swept || err != nil || rdb.LLen(t.Context(), list).Val() != 1 {
		t.Errorf("a list: %v, %v", swept, err)
	}
}
