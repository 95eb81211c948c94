package compare

import (
	"context"
	"sync"
	"testing"

	"github.com/doppio-cache/doppio/bench/internal/peers"
)

// leaky is a cache whose local tier never holds every second key, and which has forgotten every tenth altogether.
type leaky struct {
	mu     sync.Mutex
	values map[string]int64
	remote float64 // reads of the remote tier
}

func (*leaky) Close() error { return nil }

func (l *leaky) Set(_ context.Context, key string, v int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if v%10 != 0 {
		l.values[key] = v
	}
	return nil
}

func (l *leaky) Get(_ context.Context, key string) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v, ok := l.values[key]
	if !ok || v%2 != 0 {
		l.remote++
	}
	if !ok {
		return 0, peers.ErrMiss
	}
	return v, nil
}

func (l *leaky) asked(context.Context) (float64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.remote, nil
}

func TestRemoteHitsAreNoEntriesOfTheLocalTier(t *testing.T) {
	l := &leaky{values: make(map[string]int64)}
	d := newSession(Options{}).numbers.data("number", 1000)
	if err := d.fill(t.Context(), &player[int64]{caches: []peers.Cache[int64]{l}}); err != nil {
		t.Fatal(err)
	}
	held, err := d.insist(t.Context(), l, l.asked)
	if err != nil || held != 400 { // half are remote, and a fifth of the others are nowhere
		t.Errorf("it holds %d, %v, want 400", held, err)
	}
}

func TestGetCalls(t *testing.T) {
	const info = "# Commandstats\r\ncmdstat_mget:calls=3,usec=1\r\ncmdstat_get:calls=12,usec=34,usec_per_call=2.8\r\ncmdstat_getex:calls=9,usec=1\r\n"
	if n, err := getCalls(info); n != 12 || err != nil {
		t.Errorf("%v, %v, want 12", n, err)
	}
	if n, err := getCalls("# Commandstats\r\n"); n != 0 || err != nil {
		t.Errorf("of none: %v, %v", n, err)
	}
	if _, err := getCalls("cmdstat_get:calls=many,"); err == nil {
		t.Error("what cannot be read is no error")
	}
}
