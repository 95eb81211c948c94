package remote

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

func TestIncrement_isExact(t *testing.T) {
	s, rdb := onShared(t)
	const p53 = 1 << 53 // where Lua's numbers lose the unit
	for _, c := range []struct{ from, delta, want int64 }{
		{0, 1, 1}, {1, -1, 0}, {0, 0, 0}, {5, -10, -5}, {9, 1, 10}, {-1, 1, 0},
		{p53 - 1, 1, p53}, {p53, 1, p53 + 1}, {p53 + 1, 1, p53 + 2}, {-p53, -1, -p53 - 1}, {0, p53 + 1, p53 + 1},
		{math.MaxInt64 - 1, 1, math.MaxInt64}, {math.MaxInt64, -1, math.MaxInt64 - 1}, {math.MaxInt64, 0, math.MaxInt64},
		{math.MinInt64 + 1, -1, math.MinInt64}, {math.MinInt64, 1, math.MinInt64 + 1},
		{math.MinInt64, math.MaxInt64, -1}, {math.MaxInt64, math.MinInt64, -1}, {0, math.MinInt64, math.MinInt64}, {0, math.MaxInt64, math.MaxInt64},
	} {
		key := fmt.Sprint(t.Name(), c.from, c.delta)
		old := number(c.from)
		old.Stamp, old.Tags, old.Grace = 7, []Tag{{"tag", Token{3}}, {"12", Token{4}}}, time.Hour
		old.Created = time.UnixMilli(time.Now().Add(-time.Minute).UnixMilli())
		put(t, rdb, key, old)
		must(t, rdb.Expire(t.Context(), key, time.Hour+17*time.Minute).Err())
		r := number(0)
		r.Stamp = 99 // what the entry would be, had there been none
		sum, err := s.Increment(t.Context(), IncrementRequest{Key: key, Delta: c.delta, Missing: r, Tags: &TagState{Token: old.Token}})
		if err != nil || sum != c.want {
			t.Errorf("%d + %d = %d, %v", c.from, c.delta, sum, err)
			continue
		}
		got, err := ParseRecord(key, raw(t, rdb, key))
		must(t, err)
		if got.Token != r.Token || string(got.Payload) != fmt.Sprint(c.want) {
			t.Errorf("%d + %d: token %v, payload %q", c.from, c.delta, got.Token, got.Payload)
		}
		got.Token, got.Payload = old.Token, old.Payload
		if !sameRecord(&got, old) {
			t.Errorf("%d + %d: something else has changed: %+v", c.from, c.delta, got)
		}
		if left := rdb.PTTL(t.Context(), key).Val(); left > time.Hour+17*time.Minute || left < time.Hour+16*time.Minute {
			t.Errorf("%d + %d: kept for %v", c.from, c.delta, left)
		}
	}
}

func TestIncrement_outOfBoundsChangesNothing(t *testing.T) {
	s, rdb := onShared(t)
	ch := subscribe(t, rdb)
	const p53 = 1 << 53
	type bounds = Bounds
	full := func(payload string) *Record { r := value(payload); r.Number = true; return r }
	for _, c := range []struct {
		name  string
		from  string // "" is nothing
		delta int64
		*bounds
		over bool
	}{
		{"int64 above", fmt.Sprint(int64(math.MaxInt64)), 1, nil, true},
		{"int64 far above", fmt.Sprint(int64(math.MaxInt64)), math.MaxInt64, nil, true},
		{"int64 below", fmt.Sprint(int64(math.MinInt64)), -1, nil, true},
		{"int8 above", "127", 1, &bounds{-128, 127}, true},
		{"int8 highest", "126", 1, &bounds{-128, 127}, false},
		{"int8 below", "-128", -1, &bounds{-128, 127}, true},
		{"int8 lowest", "-127", -1, &bounds{-128, 127}, false},
		{"int8 more digits", "99", 901, &bounds{-128, 127}, true},
		{"int8 more digits below", "-99", -901, &bounds{-128, 127}, true},
		{"uint8 below", "0", -1, &bounds{0, 255}, true},
		{"uint64 below", "0", -1, &bounds{0, math.MaxInt64}, true},
		{"uint64 highest", "9223372036854775806", 1, &bounds{0, math.MaxInt64}, false},
		{"uint64 above int64", "9223372036854775808", 0, &bounds{0, math.MaxInt64}, true},
		{"uint64 highest of all", "18446744073709551615", -1, &bounds{0, math.MaxInt64}, true},
		{"one above 2^53", fmt.Sprint(p53), 1, &bounds{0, p53}, true},
		{"2^53", fmt.Sprint(p53 - 1), 1, &bounds{0, p53}, false},
		{"one below -2^53", fmt.Sprint(-p53), -1, &bounds{-p53, 0}, true},
		{"one below the highest", fmt.Sprint(int64(math.MaxInt64 - 1)), 1, &bounds{0, math.MaxInt64 - 1}, true},
		{"nothing there, above", "", 128, &bounds{-128, 127}, true},
		{"nothing there, below", "", -1, &bounds{0, 255}, true},
		{"nothing there, within", "", 127, &bounds{-128, 127}, false},
		{"already outside", "1000", 1, &bounds{-128, 127}, true},
		{"back from outside", "1000", -999, &bounds{-128, 127}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			key := t.Name()
			var before []byte
			if c.from != "" {
				before = put(t, rdb, key, full(c.from))
				must(t, rdb.PExpireAt(t.Context(), key, time.UnixMilli(4_000_000_000_000)).Err())
			}
			_, err := increment(t.Context(), s, key, c.delta, c.bounds, number(0), 0, nil)
			if !c.over {
				wantErr(t, err)
				return
			}
			wantErr(t, err, ErrOverflow)
			wantRaw(t, rdb, key, before)
			if before == nil {
				return
			}
			// PEXPIRETIME is newer than 6.2. What is left is a moment less when the time is asked
			// for after it.
			left, err := rdb.PTTL(t.Context(), key).Result()
			must(t, err)
			now, err := rdb.Time(t.Context()).Result()
			must(t, err)
			if off := now.Add(left).Sub(time.UnixMilli(4_000_000_000_000)); off < -time.Second || off > time.Hour {
				t.Errorf("it ends %v later than before", off)
			}
		})
	}
	ch.want(t, rdb)
}

func TestIncrement_leavesValuesThatAreNoNumbers(t *testing.T) {
	s, rdb := onShared(t)
	flagged := func(payload string) *Record { r := value(payload); r.Number = true; return r }
	for name, record := range map[string]func(key string) []byte{
		"text":             func(key string) []byte { return encode(t, key, value("text")) },
		"digits as text":   func(key string) []byte { return encode(t, key, value("12")) },
		"empty":            func(key string) []byte { return encode(t, key, flagged("")) },
		"text as number":   func(key string) []byte { return encode(t, key, flagged("1x")) },
		"float":            func(key string) []byte { return encode(t, key, flagged("1.5")) },
		"space":            func(key string) []byte { return encode(t, key, flagged(" 1")) },
		"plus":             func(key string) []byte { return encode(t, key, flagged("+1")) },
		"minus":            func(key string) []byte { return encode(t, key, flagged("-")) },
		"minus zero":       func(key string) []byte { return encode(t, key, flagged("-0")) },
		"leading zero":     func(key string) []byte { return encode(t, key, flagged("007")) },
		"end of line":      func(key string) []byte { return encode(t, key, flagged("1\n")) },
		"garbage":          func(string) []byte { return []byte(strings.Repeat("garbage", 20)) },
		"plain digits":     func(string) []byte { return []byte("41") },
		"another version":  func(key string) []byte { return futureVersion(t, key, number(1)) },
		"reserved kind":    func(key string) []byte { r := number(1); r.Kind = 4; return encode(t, key, r) },
		"key as long":      func(key string) []byte { return encode(t, "X"+key[1:], number(1)) },
		"another key":      func(key string) []byte { return encode(t, key+"1", number(1)) },
		"key of no length": func(string) []byte { return encode(t, "", number(1)) },
		"cut short":        func(key string) []byte { b := encode(t, key, number(12345)); return b[:len(b)-2] },
		"too long":         func(key string) []byte { return append(encode(t, key, number(12345)), '6') },
		"header only":      func(key string) []byte { return encode(t, key, number(1))[:headerSize] },
		"absurd length": func(key string) []byte {
			b := encode(t, key, number(1))
			copy(b[offPayload:], "\xff\xff\xff\xff")
			return b
		},
	} {
		key := t.Name() + ":" + name + ":42" // digits before the payload
		before := record(key)
		putRaw(t, rdb, key, string(before))
		_, err := increment(t.Context(), s, key, 1, nil, number(0), 0, nil)
		t.Log(name)
		wantErr(t, err, ErrNotNumeric)
		wantRaw(t, rdb, key, before)
	}
	key := t.Name() + "list"
	must(t, rdb.RPush(t.Context(), key, "1").Err())
	_, err := increment(t.Context(), s, key, 1, nil, number(0), 0, nil)
	wantErr(t, err, ErrWrongType)
}

func TestIncrement_beginsAtZeroWhereUsersSeeNoEntry(t *testing.T) {
	s, rdb := onShared(t)
	for _, c := range anything {
		if c.present {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			key := t.Name()
			c.put(t, rdb, key)
			begin := &Record{Kind: KindValue, Token: NewToken(), Stamp: 5, Created: time.UnixMilli(time.Now().UnixMilli()), TTL: 10 * time.Minute, Grace: time.Minute, Tags: []Tag{{Name: "t"}}, Payload: []byte("ignored")}
			sum, err := increment(t.Context(), s, key, -7, nil, begin, 0, nil)
			if err != nil || sum != -7 {
				t.Fatal(sum, err)
			}
			want := *begin
			want.Number, want.Payload = true, []byte("-7")
			wantDated(t, rdb, key, &want)
			if left := rdb.PTTL(t.Context(), key).Val(); left > 11*time.Minute || left < 10*time.Minute {
				t.Errorf("kept for %v", left)
			}
			if string(begin.Payload) != "ignored" || begin.Number {
				t.Error("the caller's record was changed")
			}
		})
	}
	begin := value("")
	begin.TTL = 0
	if _, err := increment(t.Context(), s, t.Name(), 1, nil, begin, 0, nil); err != nil || rdb.PTTL(t.Context(), t.Name()).Val() != -1 {
		t.Errorf("an entry without end: %v", err)
	}
}

func TestIncrement_keepsAnEntryWithoutEnd(t *testing.T) {
	s, rdb := onShared(t)
	r := number(1)
	r.TTL = 0
	must(t, s.Set(t.Context(), t.Name(), r, nil))
	_, err := increment(t.Context(), s, t.Name(), 1, nil, number(0), 0, nil)
	must(t, err)
	if left := rdb.PTTL(t.Context(), t.Name()).Val(); left != -1 {
		t.Errorf("it ends in %v", left)
	}
}

// Fuzzing looks for digits that the script and Go understand differently.
func FuzzIncrement(f *testing.F) {
	f.Add(int64(1<<53), int64(1), int64(math.MinInt64), int64(math.MaxInt64))
	f.Add(int64(-128), int64(-1), int64(-128), int64(127))
	f.Add(int64(math.MaxInt64), int64(1), int64(0), int64(math.MaxInt64))
	s, rdb := onShared(f)
	f.Fuzz(func(t *testing.T, from, delta, low, high int64) {
		key := f.Name()
		before := put(t, rdb, key, number(from))
		sum, err := increment(t.Context(), s, key, delta, &Bounds{low, high}, number(0), 0, nil)
		want := from + delta
		over := (want > from) != (delta > 0) && delta != 0 || want < low || want > high
		if over {
			wantErr(t, err, ErrOverflow)
			if !bytes.Equal(raw(t, rdb, key), before) {
				t.Error("the entry has changed")
			}
		} else if err != nil || sum != want {
			t.Errorf("%d + %d within [%d, %d]: %d, %v", from, delta, low, high, sum, err)
		}
	})
}
