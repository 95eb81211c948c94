package remote

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/redistest"
)

// hostile are parts of keys that mean something in a glob pattern.
var hostile = []string{"*", "?", "[", "]", "[a]", "[^a]", "[a-z]", "\\", "\\*", "\\\\", "^", "-", "{", "}", "{a}", "a", "", "*\\", "[\\", "[a", "ab", "\x00", "\xff", "é", "\n", " "}

func TestClear_staysUnderItsPrefix(t *testing.T) {
	rdb := shared.Client(t, func(o *redis.Options) { o.DB = 8 })
	must(t, rdb.FlushDB(t.Context()).Err())
	s := newStore(t, rdb, func(o *Options) { o.ScanPage, o.Namespace = 7, "" })
	var all []string
	for _, p := range hostile {
		for _, k := range []string{"", "k", "*", "a", "\\"} {
			all = append(all, "ns"+p+":"+k)
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	under := func(prefix string) (n int) {
		for _, k := range all {
			if strings.HasPrefix(k, prefix) {
				n++
			}
		}
		return n
	}
	noErrors(t, s.SetMany(t.Context(), writesOf(all)))
	for _, p := range hostile {
		prefix := "ns" + p + ":"
		want := under(prefix)
		if n, err := countKeys(t.Context(), s, prefix, "", 0); n != want || err != nil {
			t.Errorf("Count under %q: %d, %v, want %d", prefix, n, err, want)
		}
		if n, err := countKeys(t.Context(), s, prefix, EscapeGlob("*"), 0); n != 1 || err != nil {
			t.Errorf("Count of one under %q: %d, %v", prefix, n, err)
		}
		if n, err := countKeys(t.Context(), s, prefix, "[a-k]", 0); n != 2 || err != nil {
			t.Errorf("Count of two under %q: %d, %v", prefix, n, err)
		}
		if n, err := clearKeys(t.Context(), s, prefix, "", 0, 0); n != want || err != nil {
			t.Errorf("Clear under %q: %d, %v, want %d", prefix, n, err, want)
		}
		all = slices.DeleteFunc(all, func(k string) bool { return strings.HasPrefix(k, prefix) })
		if n := rdb.DBSize(t.Context()).Val(); n != int64(len(all)) {
			t.Fatalf("Clear under %q left %d keys, want %d", prefix, n, len(all))
		}
	}
}

func TestCount_countsEntriesAsClearDoes(t *testing.T) {
	s, rdb := onShared(t)
	prefix, want := t.Name()+":", 0
	for _, c := range anything {
		c.put(t, rdb, prefix+c.name)
		if c.present {
			want++
		}
	}
	if n, err := countKeys(t.Context(), s, prefix, "", 0); n != want || err != nil {
		t.Errorf("Count: %d, %v, want %d", n, err, want)
	}
	if n, err := clearKeys(t.Context(), s, prefix, "", 0, 0); n != want || err != nil {
		t.Errorf("Clear: %d, %v, want %d", n, err, want)
	}
	if keys := rdb.Keys(t.Context(), prefix+"*").Val(); len(keys) > 0 {
		t.Errorf("left: %q", keys)
	}
}

func TestScan_goesOverManyPages(t *testing.T) {
	s, rdb := onShared(t)
	small := newStore(t, rdb, func(o *Options) { o.ScanPage, o.BatchSize = 10, 3 })
	prefix, want := t.Name()+":", 2000
	noErrors(t, s.SetMany(t.Context(), writesOf(someKeys(prefix, want))))
	if n, err := countKeys(t.Context(), small, prefix, "", 0); n != want || err != nil {
		t.Errorf("Count: %d, %v", n, err)
	}
	if n, err := clearKeys(t.Context(), small, prefix, "", 0, 0); n != want || err != nil {
		t.Errorf("Clear: %d, %v", n, err)
	}
}

// repeat makes every page of SCAN hold its keys twice, which Redis is allowed to do.
type repeat struct{ plainHook }

func (repeat) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if scan, ok := cmd.(*redis.ScanCmd); ok {
			keys, cursor := scan.Val()
			scan.SetVal(append(slices.Clone(keys), keys...), cursor)
		}
		return err
	}
}

func TestScan_countsRepeatedKeysOnce(t *testing.T) {
	rdb := shared.Client(t)
	rdb.AddHook(repeat{})
	s := newStore(t, rdb)
	prefix := t.Name() + ":"
	noErrors(t, s.SetMany(t.Context(), writesOf(someKeys(prefix, 50))))
	if n, err := countKeys(t.Context(), s, prefix, "", 0); n != 50 || err != nil {
		t.Errorf("Count: %d, %v", n, err)
	}
	if n, err := clearKeys(t.Context(), s, prefix, "", 0, 0); n != 50 || err != nil {
		t.Errorf("Clear: %d, %v", n, err)
	}
}

func TestScan_stopsWithItsCaller(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	p, rdb := proxied(t, server)
	s := newStore(t, rdb, func(o *Options) { o.ScanPage, o.Namespace = 10, "" })
	const n = 1000
	noErrors(t, s.SetMany(t.Context(), writesOf(someKeys("k", n))))
	must(t, greeted(rdb))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	trap := p.HoldNextCommand("k5") // the deletion of an early page: every ninth key begins so
	result := make(chan error, 1)
	removed := 0
	go func() {
		var err error
		removed, err = clearKeys(ctx, s, "k", "", 0, 0)
		result <- err
	}()
	<-trap.Sprung()
	cancel()
	err := <-result
	trap.Release()
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	must(t, s.Close(context.Background())) // the page under way ends
	if left := server.Client(t).DBSize(context.Background()).Val(); left == 0 || int(left) > n-removed {
		t.Errorf("%d removed, %d of %d left", removed, left, n)
	}
}

// EscapeGlob's pattern matches exactly its own string, as the real server matches.
func FuzzEscapeGlob(f *testing.F) {
	for _, h := range hostile {
		f.Add("ns"+h, "ns*")
		f.Add(h+h, "[a]"+h)
	}
	rdb := shared.Client(f, func(o *redis.Options) { o.DB = 7 })
	f.Fuzz(func(t *testing.T, s, other string) {
		ctx := context.Background()
		must(t, rdb.FlushDB(ctx).Err())
		must(t, rdb.MSet(ctx, s, "", other, "", s+"x", "", "x"+s, "", "x", "").Err())
		got, err := rdb.Keys(ctx, EscapeGlob(s)).Result()
		if err != nil || len(got) != 1 || got[0] != s {
			t.Fatalf("%q is escaped to %q, which matches %q, %v", s, EscapeGlob(s), got, err)
		}
		if escaped := fmt.Sprint(EscapeGlob(s)); len(escaped) < len(s) {
			t.Fatalf("%q became %q", s, escaped)
		}
	})
}
