package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/redistest"
)

// shared is one server for all tests that do not harm it, sharedCluster another. Each test uses
// keys that begin with its name, and has lanes of its own.
var (
	shared        *redistest.Server
	sharedCluster *redistest.Cluster
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(
		redistest.Shared(m, func(h redistest.Host) {
			shared = redistest.Start(h)
			sharedCluster = redistest.StartCluster(h, 3)
		}),
		// go-redis looks once a second whether a server that refused has come back, and whether its
		// pool is closed.
		goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// patience is for what must happen; nothing here waits for it to pass.
const patience = time.Minute

func newStore(t testing.TB, rdb redis.UniversalClient, mutate ...func(*Options)) *Store {
	t.Helper()
	o := Options{Timeout: 10 * time.Second, Namespace: t.Name()}
	for _, m := range mutate {
		m(&o)
	}
	if o.ReadTimeout == 0 {
		o.ReadTimeout = o.Timeout // a busy machine is no outage
	}
	s, err := New(rdb, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// onShared is a store on the shared server, and its client.
func onShared(t testing.TB) (*Store, *redis.Client) {
	t.Helper()
	rdb := shared.Client(t)
	fresh(t, rdb)
	return newStore(t, rdb), rdb
}

// fresh removes what an earlier run of the test left on a server.
func fresh(t testing.TB, rdb *redis.Client) {
	t.Helper()
	for _, prefix := range []string{t.Name(), "{" + t.Name() + ":"} {
		keys, err := rdb.Keys(context.Background(), EscapeGlob(prefix)+"*").Result()
		must(t, err)
		for _, key := range keys { // one by one, for those of a Cluster's node are of many slots
			must(t, rdb.Del(context.Background(), key).Err())
		}
	}
}

// onSharedCluster is a client of the shared Cluster, where nothing of an earlier run of the test is
// left.
func onSharedCluster(t testing.TB) *redis.ClusterClient {
	t.Helper()
	for _, node := range sharedCluster.Nodes {
		fresh(t, node.Client(t))
	}
	return sharedCluster.Client(t)
}

// proxied is a client whose bytes pass a proxy.
func proxied(t testing.TB, s *redistest.Server, mutate ...func(*redis.Options)) (*redistest.Proxy, *redis.Client) {
	t.Helper()
	p := redistest.NewProxy(t, s.Addr)
	return p, s.Client(t, append(mutate, func(o *redis.Options) { o.Addr = p.Addr() })...)
}

func value(payload string) *Record {
	return &Record{Kind: KindValue, Token: NewToken(), Created: time.Now(), TTL: time.Hour, Payload: []byte(payload)}
}

func number(n int64) *Record {
	r := value(fmt.Sprint(n))
	r.Number = true
	return r
}

// expired is a value past its TTL and within its grace.
func expired(payload string) *Record {
	r := value(payload)
	r.Created, r.TTL, r.Grace = time.Now().Add(-2*time.Minute), time.Minute, time.Hour
	return r
}

func negative() *Record {
	return &Record{Kind: KindNegative, Token: NewToken(), Created: time.Now(), TTL: time.Hour}
}

func lease(token Token) *Record {
	return &Record{Kind: KindLease, Token: token, Created: time.Now(), TTL: time.Hour}
}

func encode(t testing.TB, key string, r *Record) []byte {
	t.Helper()
	raw, err := AppendRecord(nil, key, r)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// put stores a record as AppendRecord makes it, for an hour.
func put(t testing.TB, rdb redis.UniversalClient, key string, r *Record) []byte {
	t.Helper()
	raw := encode(t, key, r)
	putRaw(t, rdb, key, string(raw))
	if left := time.Until(r.Created.Add(r.TTL + r.Grace)); r.Grace > 0 && r.TTL > 0 && left > 0 {
		must(t, rdb.PExpire(context.Background(), key, left).Err()) // how much of it is grace is told by what Redis keeps it for
	}
	return raw
}

func putRaw(t testing.TB, rdb redis.UniversalClient, key, raw string) {
	t.Helper()
	must(t, rdb.Set(context.Background(), key, raw, time.Hour).Err())
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// raw is what lies under key; nothing where nothing does.
func raw(t testing.TB, rdb redis.UniversalClient, key string) []byte {
	t.Helper()
	b, err := rdb.Get(context.Background(), key).Bytes()
	if err != nil && !errors.Is(err, redis.Nil) {
		t.Fatal(err)
	}
	return b
}

// wantDated is wantRaw for what a script has stored, and dated by the server's clock: on this
// machine, where it runs, that is just now.
func wantDated(t testing.TB, rdb redis.UniversalClient, key string, r *Record) {
	t.Helper()
	got, err := ParseRecord(key, raw(t, rdb, key))
	must(t, err)
	if age := time.Since(got.Created); age < -time.Second || age > time.Minute {
		t.Errorf("stored %v ago, by its date", age)
	}
	want := *r
	want.Created = got.Created
	wantRaw(t, rdb, key, encode(t, key, &want))
}

func wantRaw(t testing.TB, rdb redis.UniversalClient, key string, want []byte) {
	t.Helper()
	if got := raw(t, rdb, key); !bytes.Equal(got, want) {
		t.Errorf("under the key lies\n%q, want\n%q", got, want)
	}
}

// futureVersion is a record of a version that this library does not know.
func futureVersion(t testing.TB, key string, r *Record) []byte {
	t.Helper()
	b := encode(t, key, r)
	b[offVersion] = recordVersion + 1
	return b
}

// wantErr checks that err matches all of want, and nothing else that a caller asks for.
func wantErr(t testing.TB, err error, want ...error) {
	t.Helper()
	for _, kind := range []error{
		ErrNotFound, ErrUnavailable, ErrUnknownOutcome, ErrRefused, ErrDenied, ErrWrongType, ErrNotNumeric, ErrOverflow, ErrClosed, ErrMalformed, ErrTooLarge,
		context.Canceled, context.DeadlineExceeded,
	} {
		wanted := false
		for _, w := range want {
			wanted = wanted || errors.Is(w, kind)
		}
		if errors.Is(err, kind) != wanted {
			t.Errorf("error %v: matching %q is %v", err, kind, !wanted)
		}
	}
	if (err == nil) != (len(want) == 0) {
		t.Errorf("error %v, want %v", err, want)
	}
}

// bodyAt is where a message's places in the lane end.
const bodyAt = 2 + 2*lane.WireSize

// news is an announcement whose message ends with text.
func news(text string) *Announcement {
	return &Announcement{Message: []byte("\xC1\x01" + strings.Repeat("\x00", bodyAt-2) + text)}
}

// channel listens to what is announced in the first lane.
type channel struct {
	ps *redis.PubSub
	ch <-chan *redis.Message
}

func subscribe(t testing.TB, rdb redis.UniversalClient) *channel {
	t.Helper()
	ps := rdb.Subscribe(context.Background(), lane.Of(t.Name(), 0).Channel)
	t.Cleanup(func() { _ = ps.Close() })
	_, err := ps.Receive(context.Background())
	must(t, err)
	return &channel{ps: ps, ch: ps.Channel()}
}

// want checks that exactly these messages were published since the last time.
func (c *channel) want(t testing.TB, rdb redis.UniversalClient, want ...string) {
	t.Helper()
	const end = "\x00the end"
	must(t, rdb.Publish(context.Background(), lane.Of(t.Name(), 0).Channel, end).Err())
	var got []string
	for {
		select {
		case m := <-c.ch:
			if m.Payload != end {
				got = append(got, m.Payload[bodyAt:])
				continue
			}
		case <-time.After(patience):
			t.Fatal("the channel is silent")
		}
		break
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("announced %q, want %q", got, want)
	}
}

// deletions are those of keys, with an announcement each as far as there are any.
func deletions(keys []string, floor uint64, told ...*Announcement) []Deletion {
	out := make([]Deletion, len(keys))
	for i, key := range keys {
		out[i] = Deletion{Key: key, Floor: floor}
		if i < len(told) {
			out[i].Announcement = told[i]
		}
	}
	return out
}
