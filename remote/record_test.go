package remote

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/doppio-cache/doppio/internal/alloctest"
)

func full() *Record {
	return &Record{
		Kind: KindValue, Token: Token{1, 2, 3}, Stamp: 1 << 60, Created: time.UnixMilli(1_700_000_000_123), TTL: time.Minute,
		Grace: time.Hour, LoadTime: 15 * time.Millisecond, Number: true, Payload: []byte("42"),
		Tags: []Tag{{Name: "a", Version: Token{9}}, {Name: "", Version: Token{8}}, {Name: strings.Repeat("t", math.MaxUint16)}},
	}
}

func sameRecord(a, b *Record) bool {
	x, y := *a, *b
	x.Payload, y.Payload = nil, nil
	return bytes.Equal(a.Payload, b.Payload) && reflect.DeepEqual(x, y)
}

func TestRecord_readsBack(t *testing.T) {
	for _, c := range []struct {
		name, key string
		r         *Record
	}{
		{"value with all fields", "cache:key", full()},
		{"lease", "k", &Record{Kind: KindLease, Token: NewToken(), Created: time.UnixMilli(5), TTL: time.Second}},
		{"negative", "k", &Record{Kind: KindNegative, Created: time.UnixMilli(0), TTL: time.Second}},
		{"without end, empty payload", "", &Record{Kind: KindValue, Created: time.UnixMilli(1)}},
		{"longest key", strings.Repeat("k", math.MaxUint16), &Record{Kind: KindValue, Created: time.UnixMilli(1), Payload: []byte("v")}},
		{"any bytes", "\x00\xff\n", &Record{Kind: KindValue, Created: time.UnixMilli(-1), Stamp: math.MaxUint64, Payload: []byte{0, 255, 0}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			data, err := AppendRecord([]byte("before"), c.key, c.r)
			must(t, err)
			if !bytes.HasPrefix(data, []byte("before")) {
				t.Fatal("what was there is gone")
			}
			if got := len(data) - 6; got != recordSize(c.key, c.r) {
				t.Errorf("%d bytes, recordSize says %d", got, recordSize(c.key, c.r))
			}
			got, err := ParseRecord(c.key, data[6:])
			if err != nil || !sameRecord(&got, c.r) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

func TestAppendRecord_refusesARecordThatIsTooLarge(t *testing.T) {
	long := strings.Repeat("x", math.MaxUint16+1)
	for name, c := range map[string]struct {
		key string
		r   Record
	}{
		"key":  {long, Record{Kind: KindValue}},
		"tag":  {"k", Record{Kind: KindValue, Tags: []Tag{{Name: "short"}, {Name: long}}}},
		"tags": {"k", Record{Kind: KindValue, Tags: make([]Tag, math.MaxUint16+1)}},
	} {
		data, err := AppendRecord([]byte("x"), c.key, &c.r)
		if string(data) != "x" {
			t.Errorf("%s: %d bytes were appended", name, len(data)-1)
		}
		wantErr(t, err, ErrTooLarge)
	}
}

func TestParseRecord_refusesARecordOfAnotherKey(t *testing.T) {
	const key = "cache:key"
	r := full()
	r.Tags = r.Tags[:2]
	good := encode(t, key, r)
	changed := func(at int, b ...byte) []byte {
		d := bytes.Clone(good)
		copy(d[at:], b)
		return d
	}
	cases := map[string][]byte{
		"empty":                   {},
		"text":                    []byte("some other program's value"),
		"long text":               bytes.Repeat([]byte("some other program's value"), 10),
		"kind 0":                  changed(0, 0),
		"kind 4":                  changed(0, 4),
		"kind 5":                  changed(0, 5),
		"kind 6":                  changed(0, 6),
		"a byte too many":         append(bytes.Clone(good), 'x'),
		"written for another key": encode(t, "cache:kez", r),
		"for a longer key":        encode(t, "cache:key2", r),
		"for a shorter key":       encode(t, "cache:ke", r),
		"absurd tag count":        changed(headerSize, 0xFF, 0xFF),
		"absurd tag length":       changed(headerSize+2, 0xFF, 0xFF),
		"absurd key length":       changed(headerSize+2+2*18+1, 0xFF, 0xFF),
		"absurd payload length":   changed(offPayload, 0xFF, 0xFF, 0xFF, 0xFF),
		"payload length one less": changed(offPayload+3, 1),
		"payload length one more": changed(offPayload+3, 3),
	}
	for i := range good {
		cases["cut to "+time.Duration(i).String()] = good[:i:i]
	}
	for name, data := range cases {
		got, err := ParseRecord(key, data)
		var bad *MalformedError
		if !errors.As(err, &bad) || !reflect.DeepEqual(got, Record{}) {
			t.Errorf("%s: %+v, %v", name, got, err)
			continue
		}
		if len(data) >= headerSize && !bytes.Equal(bad.Seen, data[1:17]) {
			t.Errorf("%s: seen %x", name, bad.Seen)
		}
		if strings.Contains(err.Error(), "program") || strings.Contains(err.Error(), key) {
			t.Errorf("%s: the message holds what was stored: %v", name, err)
		}
	}
}

func TestParseRecord_tellsAnUnknownVersionFromAMalformedRecord(t *testing.T) {
	for _, kind := range []Kind{KindLease, KindValue, KindNegative, 4, 5} {
		data := futureVersion(t, "k", &Record{Kind: kind, Payload: []byte("secret")})
		for _, key := range []string{"k", "another"} { // where a later version keeps its key is not known
			got, err := ParseRecord(key, data)
			var version *UnknownVersionError
			if !errors.As(err, &version) || version.Version != recordVersion+1 || !reflect.DeepEqual(got, Record{}) {
				t.Errorf("kind %d: %+v, %v", kind, got, err)
			}
			wantErr(t, err, err)
		}
	}
}

func TestParseRecord_believesNoTagCountWithMemory(t *testing.T) {
	data := encode(t, "k", value(""))
	data[headerSize], data[headerSize+1] = 0xFF, 0xFF
	if n := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			_, _ = ParseRecord("k", data)
		}
	}).AllocedBytesPerOp(); n > 2048 {
		t.Errorf("%d bytes for a record of %d", n, len(data))
	}
}

func TestParseRecord_allocatesNothingWithoutTags(t *testing.T) {
	data := encode(t, "cache:key", value("v"))
	if n := testing.AllocsPerRun(100, func() { _, _ = ParseRecord("cache:key", data) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add("k", []byte{})
	short := full()
	short.Tags = short.Tags[:2]
	f.Add("k", encode(f, "k", short))
	f.Add("", encode(f, "", negative()))
	f.Add("k", futureVersion(f, "k", value("v")))
	full := encode(f, "k", value(strings.Repeat("v", 1000)))
	full[headerSize], full[headerSize+1] = 0xff, 0xff
	f.Add("k", full)
	f.Fuzz(func(t *testing.T, key string, data []byte) {
		// A tag takes 18 bytes at least where it is stored, and its name and two words and a half
		// more in memory.
		alloctest.AtMost(t, 1<<10+4*uint64(len(data)), "reading a record", func() { _, _ = ParseRecord(key, data) })
		r, err := ParseRecord(key, data)
		var bad *MalformedError
		var version *UnknownVersionError
		switch {
		case errors.As(err, &bad), errors.As(err, &version):
			if !reflect.DeepEqual(r, Record{}) {
				t.Fatalf("a record beside the error %v", err)
			}
			return
		case err != nil:
			t.Fatalf("error %v", err)
		}
		again, err := AppendRecord(nil, key, &r)
		if err != nil {
			t.Fatal(err)
		}
		// The reserved flags are not kept, and durations may have been written in the coarser unit.
		back, err := ParseRecord(key, again)
		if err != nil || !sameRecord(&back, &r) || len(again) != len(data) {
			t.Fatalf("%+v became %+v, %v", r, back, err)
		}
	})
}

// Whatever single byte changes: what is read is not taken for the record of another key, and its
// payload keeps its length.
func FuzzChangedByteIsNoOtherKey(f *testing.F) {
	f.Add("cache:key", "payload", uint(0), byte(1))
	f.Add("k", "", uint(53), byte(0x80))
	f.Add("", "v", uint(47), byte(0xFF))
	f.Fuzz(func(t *testing.T, key, payload string, at uint, flip byte) {
		if len(key) > math.MaxUint16 {
			return
		}
		data := encode(t, key, &Record{Kind: KindValue, Created: time.UnixMilli(1), Payload: []byte(payload), Tags: []Tag{{Name: "tag"}}})
		data[at%uint(len(data))] ^= flip
		if r, err := ParseRecord(key, data); err == nil && len(r.Payload) != len(payload) {
			t.Fatalf("payload of %d bytes, %d were written", len(r.Payload), len(payload))
		}
		for _, other := range []string{key + "x", "x" + key, key + key + "y"} {
			if _, err := ParseRecord(other, data); err == nil {
				t.Fatalf("the record of %q is read as that of %q", key, other)
			}
		}
	})
}

func TestRecord_packsDurations(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct{ in, out time.Duration }{
		{-time.Second, 0},
		{math.MinInt64, 0},
		{0, 0},
		{1, time.Millisecond},
		{time.Millisecond, time.Millisecond},
		{time.Millisecond + 1, 2 * time.Millisecond},
		{time.Minute, time.Minute},
		{(unitSeconds - 1) * time.Millisecond, (unitSeconds - 1) * time.Millisecond}, // 24.8 days, the last in milliseconds
		{(unitSeconds-1)*time.Millisecond + 1, 2147484 * time.Second},
		{25*day + 1, 25*day + time.Second},
		{365 * day, 365 * day},
		{(unitSeconds - 1) * time.Second, (unitSeconds - 1) * time.Second},
		{(unitSeconds-1)*time.Second + 1, (unitSeconds - 1) * time.Second},
		{math.MaxInt64, (unitSeconds - 1) * time.Second}, // 68 years
	} {
		if got := unpackDuration(packDuration(c.in)); got != c.out {
			t.Errorf("%v: %v, want %v", c.in, got, c.out)
		}
	}
}

func TestRecord_lifetimeIsOneThatRedisTakes(t *testing.T) {
	for _, c := range []struct {
		ttl, grace time.Duration
		want       int64
	}{
		{0, 0, 0},
		{0, time.Hour, 0},
		{1, 0, 1},
		{time.Millisecond + 1, 1, 3},
		{time.Second, time.Minute, 61_000},
		{30*24*time.Hour + 1, 30*24*time.Hour + 1, 2000 * (30*24*3600 + 1)}, // as readers find it: in seconds
		{MaxTTL, math.MaxInt64, 2000 * (unitSeconds - 1)},
		{MaxTTL + 1, time.Hour, 0},
		{math.MaxInt64, 0, 0},
	} {
		if got := (&Record{TTL: c.ttl, Grace: c.grace}).remoteTTL(); got != c.want {
			t.Errorf("%v + %v: %d ms, want %d", c.ttl, c.grace, got, c.want)
		}
	}
	s, rdb := onShared(t)
	r := value("v")
	r.TTL, r.Grace = MaxTTL, math.MaxInt64
	must(t, s.Set(t.Context(), t.Name(), r, nil))
	if left := rdb.PTTL(t.Context(), t.Name()).Val(); left < 136*365*24*time.Hour {
		t.Errorf("Redis keeps the longest life for %v", left)
	}
	left, forever, err := ttlOf(t.Context(), s, t.Name(), 0)
	if err != nil || forever || left < 68*365*24*time.Hour || left > MaxTTL {
		t.Errorf("TTL %v, forever %v, %v", left, forever, err)
	}
	r.TTL = MaxTTL + 1
	must(t, s.Set(t.Context(), t.Name(), r, nil))
	if left := rdb.PTTL(t.Context(), t.Name()).Val(); left != -1 {
		t.Errorf("Redis keeps a longer life for %v, not for ever", left)
	}
	if left, forever, err := ttlOf(t.Context(), s, t.Name(), 0); err != nil || !forever {
		t.Errorf("a longer life: TTL %v, forever %v, %v", left, forever, err)
	}
}

func TestRemaining_isNeverMoreThanTheLife(t *testing.T) {
	now := time.Now()
	const ttl = time.Minute
	for _, c := range []struct {
		created time.Time
		left    time.Duration
		expired bool
	}{
		{now, ttl, false},
		{now.Add(-20 * time.Second), 40 * time.Second, false},
		{now.Add(-ttl), 0, true},
		{now.Add(-ttl + 1), 1, false},
		{now.Add(-time.Hour), ttl - time.Hour, true},
		{now.Add(time.Second), ttl, false}, // the writer's clock is ahead
		{now.Add(1000 * time.Hour), ttl, false},
		{time.UnixMilli(math.MaxInt64), ttl, false},
	} {
		r := &Record{TTL: ttl, Created: c.created}
		left, forever := r.Remaining(now)
		if left != c.left || forever || r.Expired(now) != c.expired {
			t.Errorf("created %v: left %v, forever %v, expired %v", c.created.Sub(now), left, forever, r.Expired(now))
		}
	}
	if left, _ := (&Record{TTL: ttl, Created: time.UnixMilli(math.MinInt64)}).Remaining(now); left > 0 {
		t.Errorf("created before all time: left %v", left)
	}
	r := &Record{Created: now.Add(-time.Hour)}
	if _, forever := r.Remaining(now); !forever || r.Expired(now) {
		t.Error("a record without end ends")
	}
}

func TestNewToken_differsEachTime(t *testing.T) {
	seen := make(map[Token]bool)
	for range 1000 {
		seen[NewToken()] = true
	}
	if len(seen) != 1000 || seen[Token{}] {
		t.Errorf("%d different tokens of 1000", len(seen))
	}
}
