package flight_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"github.com/doppio-cache/doppio/internal/flight"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type call = flight.Call[string, int]

// beginning returns a Begin of a call that ends when release is closed or it is cancelled, and counts.
func beginning(began *atomic.Int64, release <-chan struct{}) flight.Begin[string, int] {
	return func() (*call, func() (int, error)) {
		ctx, cancel := context.WithCancel(context.Background())
		return &call{Info: "one", Cancel: cancel}, func() (int, error) {
			n := began.Add(1)
			select {
			case <-release:
				return int(n), nil
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
	}
}

func always(*call) bool { return true }
func never(*call) bool  { return false }

func TestJoin_sharesACallThatIsValid(t *testing.T) {
	var g flight.Group[string, int]
	var began atomic.Int64
	release := make(chan struct{})
	first, second := g.Join("k", always, beginning(&began, release)), g.Join("k", always, beginning(&began, release))
	if !first.Leader || second.Leader || first.Call != second.Call {
		t.Errorf("%+v and %+v", first, second)
	}
	close(release)
	for _, ticket := range []flight.Ticket[string, int]{first, second} {
		if n, err := ticket.Result(<-ticket.Shared); n != 1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	if began.Load() != 1 {
		t.Errorf("%d calls", began.Load())
	}
}

func TestJoin_beginsAnotherCallWhereOneIsNotValid(t *testing.T) {
	var g flight.Group[string, int]
	var began atomic.Int64
	release := make(chan struct{})
	first, second := g.Join("k", always, beginning(&began, release)), g.Join("k", never, beginning(&began, release))
	if !second.Leader || first.Call == second.Call {
		t.Errorf("%+v and %+v", first, second)
	}
	close(release)
	<-first.Shared
	<-second.Shared
	if began.Load() != 2 {
		t.Errorf("%d calls", began.Load())
	}
}

func TestLeave_cancelsACallThatNobodyWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g flight.Group[string, int]
		var began atomic.Int64
		first, second := g.Join("k", always, beginning(&began, nil)), g.Join("k", always, beginning(&began, nil))
		g.Leave("k", first.Call)
		synctest.Wait()
		select {
		case <-second.Shared:
			t.Fatal("it ended with one of its two callers")
		default:
		}
		g.Leave("k", second.Call)
		third := g.Join("k", always, beginning(&began, nil))
		if third.Call == first.Call {
			t.Error("a call that is cancelled is joined")
		}
		if _, err := first.Result(<-first.Shared); !errors.Is(err, context.Canceled) {
			t.Errorf("err = %v", err)
		}
		g.Leave("k", third.Call)
		<-third.Shared
	})
}

func TestFinish_endsOneKeyOfALoadOfMany(t *testing.T) {
	var g flight.Group[string, int]
	ended := 0
	g.Ended = func(*call) { ended++ }
	begin := func() (*call, func() (int, error)) {
		return (&call{Cancel: func() {}}).OfMany(), nil
	}
	ticket := g.Join("k", always, begin)
	g.Finish("k", ticket.Call, 7, nil)
	<-ticket.Done()
	if n, err := ticket.Finished(); n != 7 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if next := g.Join("k", always, begin); !next.Leader || ended != 1 {
		t.Errorf("leader %v, %d ended", next.Leader, ended)
	}
}

func TestLead_leavesAValidCallAlone(t *testing.T) {
	var g flight.Group[string, int]
	var began atomic.Int64
	release := make(chan struct{})
	ticket := g.Join("k", always, beginning(&began, release))
	if g.Lead("k", always, beginning(&began, release)) {
		t.Error("two calls of a key")
	}
	close(release)
	<-ticket.Shared
}

func TestTryRead_letsOneCallerRead(t *testing.T) {
	var g flight.Group[string, int]
	var began atomic.Int64
	if !g.TryRead("k") || g.TryRead("k") {
		t.Error("not one caller reads")
	}
	g.EndRead("k")
	release := make(chan struct{})
	ticket := g.Join("k", always, beginning(&began, release))
	if g.TryRead("k") {
		t.Error("a caller reads beside a call that it could join")
	}
	close(release)
	<-ticket.Shared
}
