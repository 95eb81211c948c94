package invalidation

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/redistest"
)

// patience is for what must happen; nothing here waits for it to pass.
const patience = 15 * time.Second

// event is one call of the Handler.
type event struct {
	what string // its method
	at   time.Time
	sent time.Time
	msg  Message
	err  error
}

// recorder notes what a Receiver tells.
type recorder struct {
	telling atomic.Bool
	mu      sync.Mutex
	events  []event
}

func (r *recorder) note(e event) {
	if !r.telling.CompareAndSwap(false, true) {
		panic("the handler is told two things at a time")
	}
	defer r.telling.Store(false)
	r.mu.Lock()
	defer r.mu.Unlock()
	e.at = time.Now()
	r.events = append(r.events, e)
}

func (r *recorder) Subscribed(sent time.Time) { r.note(event{what: "subscribed", sent: sent}) }
func (r *recorder) Invalidated(m Message)     { r.note(event{what: "invalidated", msg: m}) }
func (r *recorder) Unreadable(err error)      { r.note(event{what: "unreadable", err: err}) }
func (r *recorder) Alive(sent time.Time)      { r.note(event{what: "alive", sent: sent}) }
func (r *recorder) Lost(err error)            { r.note(event{what: "lost", err: err}) }

func (r *recorder) all(what string) []event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.events), func(e event) bool { return e.what != what })
}

// await waits until what was told n times, and gives the n-th.
func (r *recorder) await(t *testing.T, what string, n int) event {
	t.Helper()
	redistest.Eventually(t, patience, func() error {
		if got := len(r.all(what)); got < n {
			return fmt.Errorf("%s: %d times, want %d", what, got, n)
		}
		return nil
	})
	return r.all(what)[n-1]
}

// next waits for one more than there are now.
func (r *recorder) next(t *testing.T, what string) event {
	t.Helper()
	return r.await(t, what, len(r.all(what))+1)
}

// receive starts a receiver with short times and ends it with the test.
func receive(t *testing.T, rdb redis.UniversalClient, mutate ...func(*Options)) *recorder {
	t.Helper()
	rec := &recorder{}
	o := Options{Channel: t.Name(), MaxSilence: 2 * time.Second, Backoff: 200 * time.Millisecond, Handler: rec}
	for _, m := range mutate {
		m(&o)
	}
	r := Start(rdb, o)
	t.Cleanup(r.Close)
	return rec
}

func proxied(t *testing.T, s *redistest.Server) (*redistest.Proxy, *redis.Client) {
	t.Helper()
	p := redistest.NewProxy(t, s.Addr)
	return p, s.Client(t, func(o *redis.Options) { o.Addr = p.Addr() })
}

func keys(hashes ...uint64) Message { return Message{Type: Keys, Publisher: 1, Hashes: hashes} }

func publish(t *testing.T, rdb redis.UniversalClient, m Message) {
	t.Helper()
	if err := rdb.Publish(context.Background(), t.Name(), mustAppend(t, m)).Err(); err != nil {
		t.Fatal(err)
	}
}

func received(rec *recorder) []uint64 {
	var out []uint64
	for _, e := range rec.all("invalidated") {
		out = append(out, e.msg.Hashes...)
	}
	return out
}

// awaitArrival publishes until a message arrives, and gives its hash.
func awaitArrival(t *testing.T, rdb redis.UniversalClient, rec *recorder, hash uint64) {
	t.Helper()
	redistest.Eventually(t, patience, func() error {
		if err := rdb.Publish(context.Background(), t.Name(), mustAppend(t, keys(hash))).Err(); err != nil {
			return err
		}
		if !slices.Contains(received(rec), hash) {
			return fmt.Errorf("hash %d did not arrive", hash)
		}
		return nil
	})
}
