package invalidation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/redistest"
)

// patience is for what must happen; nothing here waits for it to pass.
const patience = time.Minute

// event is one call of the Handler.
type event struct {
	what   string // its method
	at     time.Time
	sent   time.Time
	msg    Message
	why    DropReason
	last   uint64
	floors map[string]uint64
	err    error
	change StateChange
}

// recorder notes what a Receiver tells, and that it tells it as it promises.
type recorder struct {
	receiver *Receiver
	telling  atomic.Bool
	mu       sync.Mutex
	events   []event
	state    State
	last     uint64
	sent     time.Time
	lostAll  bool // OnDrop was called with DropHistoryLost, and OnFloors was not since
}

func (r *recorder) note(e event) {
	if !r.telling.CompareAndSwap(false, true) {
		panic("the handler is told two things at a time")
	}
	defer r.telling.Store(false)
	r.mu.Lock()
	defer r.mu.Unlock()
	e.at = time.Now()
	if r.lostAll && e.what != "learned" {
		panic("after DropHistoryLost comes " + e.what)
	}
	switch e.what {
	case "learned":
		if e.last < r.last && !r.lostAll {
			panic(fmt.Sprintf("learned %v after %v", lane.ID(e.last), lane.ID(r.last)))
		}
		r.lostAll, r.last = false, e.last
	case "dropped":
		r.lostAll = e.why == DropHistoryLost
	case "trusted":
		if !e.sent.After(r.sent) || e.sent.After(e.at) {
			panic(fmt.Sprintf("trusted since %v before, then since %v before", e.at.Sub(r.sent), e.at.Sub(e.sent)))
		}
		r.sent = e.sent
	case "changed":
		if e.change.From != r.state || e.change.To == r.state {
			panic(fmt.Sprintf("in %v, a change from %v to %v", r.state, e.change.From, e.change.To))
		}
		r.state = e.change.To
	}
	r.events = append(r.events, e)
}

func (r *recorder) OnMessage(_ int, m Message)             { r.note(event{what: "invalidated", msg: m}) }
func (r *recorder) OnDrop(_ int, why DropReason, _ uint64) { r.note(event{what: "dropped", why: why}) }
func (r *recorder) OnTrust(_ int, sent time.Time)          { r.note(event{what: "trusted", sent: sent}) }
func (r *recorder) OnLost(_ int, err error)                { r.note(event{what: "lost", err: err}) }
func (r *recorder) OnState(c StateChange)                  { r.note(event{what: "changed", change: c}) }
func (r *recorder) OnFloors(_ int, last uint64, floors map[string]uint64) {
	r.note(event{what: "learned", last: last, floors: floors})
}

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

// live waits until the receiver is Live and was trusted for something later than now.
func (r *recorder) live(t *testing.T) {
	t.Helper()
	now := time.Now()
	redistest.Eventually(t, patience, func() error {
		trusted := r.all("trusted")
		if len(trusted) == 0 || !trusted[len(trusted)-1].sent.After(now) || r.receiver.State() != StateLive {
			return fmt.Errorf("%d times trusted, state %v", len(trusted), r.receiver.State())
		}
		return nil
	})
}

// reasons are those of Dropped so far.
func (r *recorder) reasons() []DropReason {
	var out []DropReason
	for _, e := range r.all("dropped") {
		out = append(out, e.why)
	}
	return out
}

// awaitDrops waits until exactly these reasons were told, and fails when it is others.
func (r *recorder) awaitDrops(t *testing.T, want ...DropReason) {
	t.Helper()
	redistest.Eventually(t, patience, func() error {
		if got := r.reasons(); !slices.Equal(got, want) {
			return fmt.Errorf("dropped for %v, want %v", got, want)
		}
		return nil
	})
}

func (r *recorder) received() []uint64 {
	var out []uint64
	for _, e := range r.all("invalidated") {
		out = append(out, e.msg.Hashes...)
	}
	return out
}

func (r *recorder) awaitHash(t *testing.T, hash uint64) {
	t.Helper()
	redistest.Eventually(t, patience, func() error {
		if !slices.Contains(r.received(), hash) {
			return fmt.Errorf("hash %d did not arrive", hash)
		}
		return nil
	})
}

// receive starts a receiver with short times and ends it with the test. The namespace is the test's
// name.
func receive(t *testing.T, rdb redis.UniversalClient, mutate ...func(*Options)) *recorder {
	t.Helper()
	rec := &recorder{}
	o := Options{
		Namespace: t.Name(), Instance: 0xF00 + uint64(len(mutate)), MaxStaleness: time.Second,
		Backoff: 200 * time.Millisecond, Handler: rec,
	}
	for _, m := range mutate {
		m(&o)
	}
	rec.receiver = Start(rdb, o)
	t.Cleanup(rec.receiver.Close)
	return rec
}

func bound(d time.Duration) func(*Options) { return func(o *Options) { o.MaxStaleness = d } }

func proxied(t *testing.T, s *redistest.Server) (*redistest.Proxy, *redis.Client) {
	t.Helper()
	p := redistest.NewProxy(t, s.Addr)
	return p, s.Client(t, func(o *redis.Options) { o.Addr = p.Addr() })
}

func keys(hashes ...uint64) Message { return Message{Type: TypeKeys, Publisher: 1, Hashes: hashes} }

var appendScript = redis.NewScript(lane.Script + `
local id
for _ = 1, tonumber(ARGV[4]) do id = lane_append(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3]) end
return id`)

// announce appends a message to the test's lane and publishes it, and gives its id.
func announce(t *testing.T, rdb redis.UniversalClient, m Message) lane.ID {
	t.Helper()
	return appendTo(t, rdb, lane.Of(t.Name(), 0).Channel, string(mustAppend(t, m)), 1)
}

// nextMillisecond returns when the server's clock has left the millisecond that an id was made in.
func nextMillisecond(t *testing.T, rdb *redis.Client, id lane.ID) {
	t.Helper()
	redistest.Eventually(t, patience, func() error {
		now, err := rdb.Time(t.Context()).Result()
		if err == nil && now.UnixMilli() <= id.UnixMilli() {
			err = errors.New("the clock stands still")
		}
		return err
	})
}

// lose appends a message that is published where nobody listens.
func lose(t *testing.T, rdb redis.UniversalClient, m Message) lane.ID {
	t.Helper()
	return appendTo(t, rdb, lane.Of(t.Name(), 0).Channel+":nowhere", string(mustAppend(t, m)), 1)
}

func appendTo(t *testing.T, rdb redis.UniversalClient, channel, message string, times int) lane.ID {
	t.Helper()
	sharded := "0"
	if _, ok := rdb.(*redis.ClusterClient); ok {
		sharded = "1"
	}
	names := lane.Of(t.Name(), 0)
	s, err := appendScript.Run(context.Background(), rdb, []string{names.Stream, names.Floors}, channel, message, sharded, times).Text()
	if err != nil {
		t.Fatal(err)
	}
	id, err := lane.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}
