package coalesce_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/doppio-cache/doppio/internal/coalesce"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	errClosed = errors.New("closed")
	errLeft   = errors.New("left")
	errSealed = errors.New("left while it was made")
)

// server answers calls when it is let go, and counts what it is asked.
type server struct {
	group coalesce.Group[int, string]
	hold  chan struct{} // a value lets one batch or single call go
	wg    sync.WaitGroup

	mu      sync.Mutex
	alone   []int
	batches [][]int
	sealed  int
	closed  bool
}

func newServer() *server {
	s := &server{hold: make(chan struct{}, 1000)}
	s.group = coalesce.Group[int, string]{
		Run: func(calls []*coalesce.Call[int, string]) {
			<-s.hold
			s.mu.Lock()
			defer s.mu.Unlock()
			var batch []int
			for _, c := range calls {
				batch = append(batch, c.Req)
				c.Res = fmt.Sprint("batch ", c.Req)
			}
			s.batches = append(s.batches, batch)
		},
		Seal: func(calls []*coalesce.Call[int, string]) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.sealed += len(calls)
		},
		Start: func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			if !s.closed {
				s.wg.Add(1)
			}
			return !s.closed
		},
		Done: s.wg.Done, Closed: errClosed,
		Waiting: func(context.Context) func(error) { return func(error) {} },
		Left: func(_ context.Context, sealed bool) error {
			if sealed {
				return errSealed
			}
			return errLeft
		},
	}
	return s
}

func (s *server) do(ctx context.Context, n int) (string, error) {
	return s.group.Do(ctx, n, func() (string, error) {
		<-s.hold
		s.mu.Lock()
		defer s.mu.Unlock()
		s.alone = append(s.alone, n)
		return fmt.Sprint("alone ", n), nil
	})
}

// crowd makes calls numbered from first, and returns how each ended when all have.
func (s *server) crowd(ctx context.Context, first, n int) func() []string {
	ends := make([]string, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			got, err := s.do(ctx, first+i)
			ends[i] = got
			if err != nil {
				ends[i] = err.Error()
			}
		})
		synctest.Wait() // one after the other
	}
	return func() []string { wg.Wait(); return ends }
}

func TestDo_makesFewCallsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		ends := s.crowd(t.Context(), 0, 2)
		s.hold <- struct{}{}
		s.hold <- struct{}{}
		if got := ends(); !slices.Equal(got, []string{"alone 0", "alone 1"}) || s.sealed != 0 {
			t.Errorf("%q, %d sealed", got, s.sealed)
		}
	})
}

func TestDo_makesWaitingCallsTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		ends := s.crowd(t.Context(), 0, 3+coalesce.Max) // two alone, a full batch, and one more
		for range 4 {
			s.hold <- struct{}{}
		}
		for i, end := range ends() {
			if want := fmt.Sprint(map[bool]string{true: "alone ", false: "batch "}[i < 2], i); end != want {
				t.Errorf("%q, want %q", end, want)
			}
		}
		s.wg.Wait()
		// Both begin when a slot is free: which ends first does not matter.
		slices.SortFunc(s.batches, func(a, b []int) int { return len(b) - len(a) })
		if len(s.batches) != 2 || len(s.batches[0]) != coalesce.Max || len(s.batches[1]) != 1 {
			t.Errorf("batches %v", s.batches)
		}
	})
}

func TestDo_takesBackTheCallOfACallerThatLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		first := s.crowd(t.Context(), 0, 2)
		ctx, leave := context.WithCancel(t.Context())
		leaving := s.crowd(ctx, 2, 1)
		staying := s.crowd(t.Context(), 3, 1)
		leave()
		if got := leaving(); got[0] != errLeft.Error() {
			t.Errorf("%q", got)
		}
		for range 3 {
			s.hold <- struct{}{}
		}
		first()
		if got := staying(); got[0] != "batch 3" || s.sealed != 1 {
			t.Errorf("%q, %d sealed", got, s.sealed)
		}
		s.wg.Wait()
	})
}

func TestDo_saysThatACallIsBeingMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		first := s.crowd(t.Context(), 0, 2)
		ctx, leave := context.WithCancel(t.Context())
		leaving := s.crowd(ctx, 2, 1)
		s.hold <- struct{}{} // one of the first ends, and the batch begins
		s.hold <- struct{}{}
		first()
		leave()
		if got := leaving(); got[0] != errSealed.Error() {
			t.Errorf("%q", got)
		}
		s.hold <- struct{}{}
		s.wg.Wait()
	})
}

func TestDo_doesNotWaitForACallThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		hanging := s.crowd(t.Context(), 0, 2)
		waiting := s.crowd(t.Context(), 2, 1)
		<-time.After(time.Minute) // of the bubble
		synctest.Wait()
		if n := s.sealedNow(); n != 1 {
			t.Errorf("%d calls begin beside those that hang", n)
		}
		for range 3 {
			s.hold <- struct{}{}
		}
		hanging()
		if got := waiting(); got[0] != "batch 2" {
			t.Errorf("%q", got)
		}
		s.wg.Wait()
	})
}

func TestDo_returnsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		first := s.crowd(t.Context(), 0, 2)
		waiting := s.crowd(t.Context(), 2, 2)
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		s.hold <- struct{}{}
		s.hold <- struct{}{}
		first()
		if got := waiting(); got[0] != errClosed.Error() || got[1] != errClosed.Error() {
			t.Errorf("%q", got)
		}
	})
}

func (s *server) sealedNow() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sealed
}
