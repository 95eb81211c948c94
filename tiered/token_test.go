package tiered_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/tiered"
	"github.com/doppio-cache/doppio/tiered/tieredtest"
)

// tap delays what comes over subscriptions, and nothing else.
type tap struct {
	mu   sync.Mutex
	open chan struct{} // closed while messages pass
}

func newTap(t *testing.T) *tap {
	p := &tap{open: make(chan struct{})}
	close(p.open)
	t.Cleanup(p.release)
	return p
}

func (p *tap) hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = make(chan struct{})
}

func (p *tap) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.open:
	default:
		close(p.open)
	}
}

func (p *tap) gate() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open
}

func (p *tap) options(o *redis.Options) {
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &tapped{Conn: c, tap: p, closed: make(chan struct{})}, nil
	}
}

type tapped struct {
	net.Conn
	tap *tap

	mu         sync.Mutex
	subscribes bool
	once       sync.Once
	closed     chan struct{}
}

func (c *tapped) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("$9\r\nsubscribe\r\n")) {
		c.mu.Lock()
		c.subscribes = true
		c.mu.Unlock()
	}
	return c.Conn.Write(p)
}

func (c *tapped) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	subscribes := c.subscribes
	c.mu.Unlock()
	if subscribes {
		select {
		case <-c.tap.gate():
		case <-c.closed:
		}
	}
	return n, err
}

func (c *tapped) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// delayed gives a writer, and a reader whose messages can be delayed.
func delayed(t *testing.T, lanes int) (p *tap, client *tiered.Client, writer, reader *tiered.Cache[string]) {
	t.Helper()
	p = newTap(t)
	o := tiered.Options{Namespace: namespace(t), Lanes: lanes, MaxStaleness: time.Minute}
	client = coherent(t, shared.Client(t, p.options), o)
	reader = newCache[string](t, client, "c", tiered.CacheOptions{})
	writer = newCache[string](t, coherent(t, shared.Client(t), o), "c", tiered.CacheOptions{})
	return p, client, writer, reader
}

// A reader that brings a token sees the change, though the instance has not heard of it and serves
// its local copy to others.
func TestAfter_showsChangesMadeElsewhere(t *testing.T) {
	t.Parallel()
	for _, lanes := range []int{1, 4} {
		p, client, writer, reader := delayed(t, lanes)
		keys := numbered(8)
		for _, k := range keys {
			check(t, writer.Set(t.Context(), k, "old"))
		}
		eventually(t, "the values are local", func() bool {
			hits := client.Stats().LocalHits
			for _, k := range keys {
				wantGet(t, reader, k, "old")
			}
			return client.Stats().LocalHits == hits+uint64(len(keys))
		})
		p.hold()
		var tok tiered.Token
		ctx := tiered.WithToken(t.Context(), &tok)
		for _, k := range keys[:5] {
			check(t, writer.Set(ctx, k, "new"))
		}
		_, err := writer.Delete(ctx, "5")
		check(t, err)
		if tok.IsZero() {
			t.Fatal("the token is zero")
		}
		parsed, err := tiered.ParseToken(tok.String())
		check(t, err)
		after := reader.After(parsed)
		wantGet(t, after, "0", "new")
		if m, err := after.GetMany(t.Context(), []string{"1", "5"}); err != nil || len(m) != 1 || m["1"] != "new" {
			t.Errorf("GetMany = %v, %v", m, err)
		}
		if got, err := after.GetOrSet(t.Context(), "2", forbidden[string](t)); err != nil || got != "new" {
			t.Errorf("GetOrSet = %q, %v", got, err)
		}
		if m, err := after.GetOrSetMany(t.Context(), []string{"3"}, forbiddenMany[string](t)); err != nil || m["3"] != "new" {
			t.Errorf("GetOrSetMany = %v, %v", m, err)
		}
		if got, err := after.GetOrSetValue(t.Context(), "4", "mine"); err != nil || got != "new" {
			t.Errorf("GetOrSetValue = %q, %v", got, err)
		}
		if found, err := after.Exists(t.Context(), "5"); err != nil || found {
			t.Errorf("Exists of what was deleted = %t, %v", found, err)
		}
		// A plain read has what is local. What a token's read has brought is newer, and may be kept.
		wantGet(t, reader, "5", "old")
		p.release()
		eventually(t, "the messages are heard", func() bool {
			_, err := reader.Get(t.Context(), "5")
			return errors.Is(err, tiered.ErrNotFound)
		})
		eventually(t, "a token costs no local hits any more", func() bool {
			hits := client.Stats().LocalHits
			wantGet(t, after, "0", "new")
			wantGet(t, after, "0", "new")
			return client.Stats().LocalHits >= hits+2
		})
	}
}

// After a Clear, a token's reads find nothing, though the clearing instance has not reclaimed it yet.
func TestAfter_showsAClear(t *testing.T) {
	t.Parallel()
	p, _, writer, reader := delayed(t, 1)
	check(t, writer.Set(t.Context(), "k", "old"))
	check(t, writer.Set(t.Context(), "l", "old"))
	eventually(t, "the sets are heard", func() bool { wantGet(t, reader, "k", "old"); return true })
	p.hold()
	var tok tiered.Token
	ctx, cancel := context.WithCancel(tiered.WithToken(t.Context(), &tok))
	hook := new(scanless)
	rdb := shared.Client(t)
	rdb.AddHook(hook)
	clearing := newCache[string](t, coherent(t, rdb, tiered.Options{Namespace: tiered.NamespaceOf(writer)}), "c", tiered.CacheOptions{})
	_, err := clearing.Clear(ctx, "")
	cancel()
	if err == nil || tok.IsZero() {
		t.Fatalf("Clear: %v, token %q", err, tok)
	}
	after := reader.After(tok)
	wantMissing(t, after, "k")
	if n, err := after.Count(t.Context(), ""); n != 0 || err != nil {
		t.Errorf("Count = %d, %v", n, err)
	}
	if got, err := after.GetOrSet(t.Context(), "l", constant("new")); err != nil || got != "new" {
		t.Errorf("GetOrSet = %q, %v", got, err)
	}
}

// A flight that began before the token's change is joined by others, but not by a caller that
// brings the token.
func TestAfter_doesNotJoinALoadFromBefore(t *testing.T) {
	t.Parallel()
	p, client, writer, reader := delayed(t, 1)
	p.hold()
	b := newBlocked(t, "old")
	first := async(func() (string, error) { return reader.GetOrSet(t.Context(), "k", b.load) })
	await(t, "the load runs", b.running)
	var tok tiered.Token
	check(t, writer.Set(tiered.WithToken(t.Context(), &tok), "k", "new"))
	plain := async(func() (string, error) { return reader.GetOrSet(t.Context(), "k", forbidden[string](t)) })
	eventually(t, "a caller without a token joins", func() bool { return client.Stats().Joined == 1 })
	for _, read := range []func() (string, error){
		func() (string, error) { return reader.After(tok).GetOrSet(t.Context(), "k", forbidden[string](t)) },
		func() (string, error) {
			m, err := reader.After(tok).GetOrSetMany(t.Context(), []string{"k"}, forbiddenMany[string](t))
			return m["k"], err
		},
	} {
		if r := receive(t, "a caller with the token", async(read)); r.err != nil || r.v != "new" {
			t.Errorf("a caller with the token got %q, %v", r.v, r.err)
		}
	}
	b.letGo()
	receive(t, "the first caller", first)
	receive(t, "who joined", plain)
	wantGet(t, reader.After(tok), "k", "new")
}

// A handle keeps the token that it was given, whatever is added to the token afterwards.
func TestAfter_keepsTheTokenThatItWasGiven(t *testing.T) {
	t.Parallel()
	_, _, writer, reader := delayed(t, 1)
	var tok tiered.Token
	ctx := tiered.WithToken(t.Context(), &tok)
	check(t, writer.Set(ctx, "k", "v"))
	copied, text := tok, tok.String()
	after := reader.After(tok)
	var wg sync.WaitGroup
	wg.Go(func() {
		for range 100 {
			wantGet(t, after, "k", "v")
		}
	})
	for range 20 {
		check(t, writer.Set(ctx, "other", "v"))
	}
	wg.Wait()
	if copied.String() != text || tok.String() == text {
		t.Errorf("a copy of the token became %q, it was %q; the token is %q", copied, text, tok)
	}
}

func TestToken_readsBack(t *testing.T) {
	t.Parallel()
	type page struct{ Token tiered.Token }
	for _, text := range []string{"", "0:1764089278123-0", "0:1-1,3:2-2,63:9-9"} {
		tok, err := tiered.ParseToken(text)
		if err != nil || tok.String() != text || tok.IsZero() != (text == "") {
			t.Errorf("%q: %q, %v, zero %t", text, tok, err, tok.IsZero())
		}
		data, err := json.Marshal(page{tok})
		check(t, err)
		var back page
		if err := json.Unmarshal(data, &back); err != nil || back.Token.String() != text {
			t.Errorf("%q from JSON %s: %q, %v", text, data, back.Token, err)
		}
	}
	// A sequence number of more than 20 bits is carried into the millisecond, as in the lane itself.
	if tok, err := tiered.ParseToken("0:1-1048576"); err != nil || tok.String() != "0:2-0" {
		t.Errorf("a large sequence number is read as %q, %v", tok, err)
	}
	for _, text := range []string{"x", "0", "0:", ":1-1", "64:1-1", "-1:1-1", "0:1", "0:1-1,", ",0:1-1", "0:1-1 ", "0:18446744073709551615-0", strings.Repeat("0:1-1,", 4000) + "0:1-1"} {
		tok, err := tiered.ParseToken(text)
		var option *tiered.OptionError
		if !errors.Is(err, tiered.ErrInvalidOptions) || !errors.As(err, &option) || option.Field != "Token" || !tok.IsZero() {
			t.Errorf("%.40q is read as %q, %v", text, tok, err)
		}
		var in page
		if err := json.Unmarshal([]byte(`{"Token":"`+text+`"}`), &in); err == nil {
			t.Errorf("%.40q is read from JSON", text)
		}
	}
}

func TestToken_mergedAsksForBoth(t *testing.T) {
	t.Parallel()
	a, _ := tiered.ParseToken("0:5-0,1:1-0")
	b, _ := tiered.ParseToken("2:1-1,0:4-9")
	if got := a.Merge(b).String(); got != "0:5-0,1:1-0,2:1-1" {
		t.Errorf("merged: %q", got)
	}
	if a.String() != "0:5-0,1:1-0" || b.String() != "2:1-1,0:4-9" {
		t.Errorf("merging changed what it merged: %q, %q", a, b)
	}
	if got := (tiered.Token{}).Merge(tiered.Token{}); !got.IsZero() {
		t.Errorf("nothing merged is %q", got)
	}
}

// Failed changes add nothing to a token.
func TestWithToken_addsNothingForAFailedChange(t *testing.T) {
	t.Parallel()
	p, _, c, _ := behindProxy(t, tiered.Options{BreakerFailures: 1})
	p.Refuse(true)
	p.CutAll()
	var tok tiered.Token
	if err := c.Set(tiered.WithToken(t.Context(), &tok), "k", "v"); err == nil || !tok.IsZero() {
		t.Errorf("Set: %v, token %q", err, tok)
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add("0:1764089278123-7,5:1-1")
	f.Add("00:1-1,0:2-2")
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := tiered.ParseToken(s)
		if err != nil {
			if !errors.Is(err, tiered.ErrInvalidOptions) || !tok.IsZero() {
				t.Errorf("%q: %q, %v", s, tok, err)
			}
			return
		}
		if again, err := tiered.ParseToken(tok.String()); err != nil || again.String() != tok.String() {
			t.Errorf("%q is %q, then %q, %v", s, tok, again, err)
		}
	})
}

// lateReplies holds the replies of calls whose context it has marked: what they ask for is done by then.
type lateReplies struct {
	done chan struct{} // told when one is held
	gate chan struct{}
}

type lateKey struct{}

func (h *lateReplies) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *lateReplies) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if ctx.Value(lateKey{}) != nil {
			h.done <- struct{}{}
			<-h.gate
		}
		return err
	}
}

func (h *lateReplies) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// A change of this instance that was made, and whose reply is late, is covered by a token that another has got since.
func TestAfter_coversAChangeWhoseReplyIsLate(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := tieredtest.NewRedis(t)
		behind, plain := r.Client(), r.Client()
		t.Cleanup(func() { _, _ = behind.Close(), plain.Close() })
		late := &lateReplies{done: make(chan struct{}, 1), gate: make(chan struct{})}
		behind.AddHook(late)
		o := tiered.Options{Namespace: "ns", RemoteTimeout: time.Minute}
		a, b := newCache[string](t, coherent(t, behind, o), "c", tiered.CacheOptions{}), newCache[string](t, coherent(t, plain, o), "c", tiered.CacheOptions{})
		ctx := t.Context()
		check(t, a.Set(ctx, "k", "old"))
		synctest.Wait()
		wantGet(t, a, "k", "old")
		set := async(func() (bool, error) { return false, a.Set(context.WithValue(ctx, lateKey{}, true), "k", "new") })
		<-late.done
		synctest.Wait() // its message has come back
		wantGet(t, b, "k", "new")
		var token tiered.Token
		check(t, b.Set(tiered.WithToken(ctx, &token), "other", "v"))
		synctest.Wait()
		wantGet(t, a.After(token), "k", "new")
		close(late.gate)
		wantAll(t, set)
		wantGet(t, a, "k", "new")
		wantGet(t, a.After(token), "k", "new")
	})
}
