package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/redistest"
)

// plainHook changes nothing.
type plainHook struct{}

func (plainHook) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (plainHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (plainHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestBreaker_opensAfterOutagesAndRecovers(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	rdb := server.Client(t)
	log := &lockedBuffer{}
	s := newStore(t, rdb, func(o *Options) {
		o.BreakerFailures, o.BreakerPause = 3, 20*time.Millisecond
		o.Logger = slog.New(slog.NewTextHandler(log, nil))
	})
	get := func() error { _, err := s.Get(t.Context(), "k"); return err }
	wantErr(t, get(), ErrNotFound)
	server.Kill()
	wantErr(t, get(), ErrUnavailable)
	wantErr(t, get(), ErrUnavailable)
	if s.BreakerOpen() {
		t.Fatal("open after two outages")
	}
	wantErr(t, get(), ErrUnavailable)
	if !s.BreakerOpen() {
		t.Fatal("not open after three outages")
	}
	server.Restart()
	redistest.Eventually(t, patience, func() error {
		if err := get(); !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("error %w", err)
		}
		return nil
	})
	if s.BreakerOpen() {
		t.Error("open after the server came back")
	}
	for _, state := range []string{"to=open", "to=half-open", "to=closed"} {
		if !strings.Contains(log.String(), state) {
			t.Errorf("the log does not tell %q:\n%s", state, log)
		}
	}
}

func TestBreaker_failsCallsWithoutAskingWhileItIsOpen(t *testing.T) {
	t.Parallel()
	p, rdb := proxied(t, shared)
	s := newStore(t, rdb, func(o *Options) { o.BreakerFailures, o.BreakerPause = 1, time.Hour })
	p.Refuse(true)
	_, err := s.Get(t.Context(), "k")
	wantErr(t, err, ErrUnavailable)
	p.Refuse(false)
	accepted := p.Accepted()
	each(t, s, []error{ErrUnavailable}) // and the outcome of mutations is known
	if n := p.Accepted() - accepted; n != 0 {
		t.Errorf("%d connections were made", n)
	}
}

func TestBreaker_forgetsOutagesAfterASuccess(t *testing.T) {
	t.Parallel()
	p, rdb := proxied(t, shared)
	s := newStore(t, rdb, func(o *Options) { o.BreakerFailures = 2 })
	for range 3 {
		p.Refuse(true)
		p.CutAll()
		redistest.Eventually(t, patience, func() error {
			if n := p.Connections(); n > 0 {
				return fmt.Errorf("%d connections", n)
			}
			return nil
		})
		_, err := s.Get(t.Context(), "k")
		wantErr(t, err, ErrUnavailable)
		p.Refuse(false)
		_, err = s.Get(t.Context(), "k")
		wantErr(t, err, ErrNotFound)
	}
	if s.BreakerOpen() {
		t.Error("outages with successes between them opened the breaker")
	}
}

// The caller has left, and its call meets an outage: that is news of the server.
func TestBreaker_countsTheOutageOfAnAbandonedCall(t *testing.T) {
	t.Parallel()
	p, rdb := proxied(t, shared, func(o *redis.Options) { o.ReadTimeout = time.Minute })
	s := newStore(t, rdb, func(o *Options) { o.BreakerFailures, o.BreakerPause, o.Timeout = 1, time.Hour, time.Minute })
	must(t, rdb.Ping(t.Context()).Err())
	hold := p.HoldNextReplyTo("the-key")
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error)
	go func() { _, err := s.Get(ctx, "the-key"); left <- err }()
	<-hold.Sprung()
	leave()
	wantErr(t, <-left, context.Canceled)
	if s.BreakerOpen() {
		t.Fatal("the caller's end opened the breaker")
	}
	p.CutAll()
	redistest.Eventually(t, patience, func() error {
		if !s.BreakerOpen() {
			return errors.New("the breaker has not heard of the outage")
		}
		return nil
	})
}

// failing gives each command of a pipeline an error of its own.
type failing struct {
	plainHook
	errs []error
}

func (f failing) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(_ context.Context, cmds []redis.Cmder) error {
		for i, cmd := range cmds {
			cmd.SetErr(f.errs[i])
		}
		return cmds[0].Err()
	}
}

// Where all shards fail, one may not have been asked and another may have changed something.
func TestSetMany_keepsEachOutcomeWhenAllFail(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	for name, errs := range map[string][]error{"refused first": {refused, io.EOF}, "refused last": {io.EOF, refused}} {
		rdb := shared.Client(t)
		rdb.AddHook(failing{errs: errs})
		s := newStore(t, rdb, func(o *Options) { o.BreakerFailures = 1 })
		t.Log(name)
		for i, err := range s.SetMany(t.Context(), writesOf([]string{"a", "b"})) {
			if errors.Is(errs[i], io.EOF) {
				wantErr(t, err, ErrUnavailable, ErrUnknownOutcome)
			} else {
				wantErr(t, err, ErrUnavailable)
			}
		}
		if !s.BreakerOpen() {
			t.Error("the breaker did not hear of it")
		}
	}
}

func TestClose_waitsForAbandonedCalls(t *testing.T) {
	t.Parallel()
	p, rdb := proxied(t, shared)
	s, err := New(rdb, Options{Timeout: time.Minute, Namespace: "closed"})
	must(t, err)
	must(t, rdb.Ping(t.Context()).Err())
	p.HoldReplies()
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error)
	go func() { _, err := s.Get(ctx, "k"); left <- err }()
	redistest.Eventually(t, patience, func() error {
		if p.Held() == 0 {
			return errors.New("nothing is under way")
		}
		return nil
	})
	leave()
	wantErr(t, <-left, context.Canceled)

	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := s.Close(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close while a call is under way: %v", err)
	}
	each(t, s, []error{ErrClosed})
	closed := make(chan error, 2)
	for range 2 {
		go func() { closed <- s.Close(t.Context()) }()
	}
	select {
	case err := <-closed:
		t.Fatalf("closed while a call is under way: %v", err)
	case <-time.After(20 * time.Millisecond): // it would have been at once
	}
	p.ReleaseReplies()
	wantErr(t, <-closed)
	wantErr(t, <-closed)
	must(t, s.Close(t.Context()))
	must(t, rdb.Ping(t.Context()).Err()) // the client is its owner's
}

func TestClose_besideCalls(t *testing.T) {
	t.Parallel()
	rdb := shared.Client(t)
	for range 20 {
		s, err := New(rdb, Options{})
		must(t, err)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for {
					_, err := s.Get(context.Background(), t.Name())
					if errors.Is(err, ErrClosed) {
						return
					}
					if !errors.Is(err, ErrNotFound) {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Go(func() {
			if err := s.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
	}
}

// now returns the state of the breaker.
func (b *breaker) now() breakerState {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state
}
