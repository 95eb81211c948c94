package harness

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/doppio-cache/doppio/internal/history"
)

// serve starts a source of two keys, and returns its socket.
func serve(t *testing.T, o SourceOptions) (*Source, string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "d") // the path of a socket has little room
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	o.Keys = 2
	if o.Takes == nil {
		o.Takes = func() (before, after time.Duration) { return 0, 0 }
	}
	s, err := ServeSource(filepath.Join(dir, "s"), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // a test may have closed it
	return s, filepath.Join(dir, "s")
}

func dial(t *testing.T, socket string, instance int) *SourceClient {
	t.Helper()
	c, err := DialSource(socket, instance)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // the source may have closed its connections
	return c
}

func TestSource_keepsVersions(t *testing.T) {
	s, socket := serve(t, SourceOptions{})
	c := dial(t, socket, 0)
	if v, err := c.Load(t.Context(), 1); v != 1 || err != nil {
		t.Errorf("first version %d, %v", v, err)
	}
	if v, err := c.Commit(t.Context(), 1); v != 2 || err != nil {
		t.Errorf("committed %d, %v", v, err)
	}
	if v, err := c.Load(t.Context(), 1); v != 2 || err != nil {
		t.Errorf("loaded %d, %v", v, err)
	}
	if _, err := c.Load(t.Context(), 2); err == nil {
		t.Error("loaded a key that is not there")
	}
	if s.Loads() != 2 || s.Commits() != 1 {
		t.Errorf("%d loads, %d commits", s.Loads(), s.Commits())
	}
	s.Hold(true)
	if _, err := c.Commit(t.Context(), 1); !errors.Is(err, ErrBusy) {
		t.Errorf("committed while nobody can: %v", err)
	}
	s.Hold(false)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := c.Load(t.Context(), 1); err == nil {
		t.Error("a closed source answered")
	}
	if _, err := DialSource(socket, 1); err == nil {
		t.Error("a closed source was dialed")
	}
}

func TestSource_loadEndsWithItsContext(t *testing.T) {
	asked := make(chan struct{})
	s, socket := serve(t, SourceOptions{Takes: func() (before, after time.Duration) {
		close(asked)
		return 0, 0
	}})
	held := make(chan struct{})
	s.Trap(InLoad, func(int) { <-held })
	c := dial(t, socket, 0)
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone by intention")
	go func() {
		<-asked
		cancel(gone)
	}()
	if _, err := c.Load(ctx, 0); !errors.Is(err, gone) {
		t.Errorf("got %v, want the cause", err)
	}
	close(held)
	if _, err := c.Load(ctx, 0); !errors.Is(err, gone) {
		t.Errorf("began after the end: %v", err)
	}
}

func TestSource_turnsBelongToConnections(t *testing.T) {
	_, socket := serve(t, SourceOptions{})
	var conns [3]*SourceConn
	for i := range conns {
		var err error
		c := dial(t, socket, i)
		<-c.idle // of one's own
		if conns[i], err = c.Conn(); err != nil {
			t.Fatal(err)
		}
	}
	first, second, third := conns[0], conns[1], conns[2]
	if v, err := first.Take(0); v != 2 || err != nil {
		t.Errorf("%d, %v", v, err)
	}
	if _, err := second.Take(0); !errors.Is(err, ErrBusy) {
		t.Errorf("another's turn: %v", err)
	}
	if v, err := second.Take(1); v != 2 || err != nil {
		t.Errorf("another key: %d, %v", v, err)
	}
	if err := first.Give(0); err != nil {
		t.Error(err)
	}
	if v, err := second.Take(0); v != 3 || err != nil {
		t.Errorf("after it was given back: %d, %v", v, err)
	}
	if err := errors.Join(first.Close(), second.Close()); err != nil {
		t.Error(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for { // poll: the source has to see the end of the connection
		if _, err := third.Take(0); err == nil {
			break
		} else if !errors.Is(err, ErrBusy) || time.Now().After(deadline) {
			t.Fatalf("after the connection's end: %v", err)
		}
	}
	if err := third.Close(); err != nil {
		t.Error(err)
	}
}

func TestTrap_tellsWhichInstanceReachedIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "parent.log")
	log, err := history.Create(path, "parent", 0)
	if err != nil {
		t.Fatal(err)
	}
	s, socket := serve(t, SourceOptions{Log: log})
	c := dial(t, socket, 7)
	for _, m := range []Moment{InLoad, AfterLoad, AfterCommit} {
		reached := make(chan int, 2)
		s.Trap(m, func(instance int) { reached <- instance })
		for range 2 {
			if _, err := c.Load(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Commit(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
		}
		if who := <-reached; who != 7 || len(reached) != 0 {
			t.Errorf("%s: reached by %d, %d times more", m, who, len(reached))
		}
		s.Trap(m, func(int) { t.Errorf("%s: a trap that was taken away", m) })
		s.Release(m)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	logs, err := history.ReadDir(filepath.Dir(path))
	if err != nil || len(logs[0].Ops) != 2+6 {
		t.Errorf("%d commits are logged, %v", len(logs[0].Ops), err)
	}
}
