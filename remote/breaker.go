package remote

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// breaker is the failure detector of one server. While it is closed, calls are made. After an
// outage it is open: calls fail at once, so that no caller waits for a server that does not answer.
// After a pause one call at a time tries the server.
//
// It learns of outages from the calls, and from the receivers of invalidations, which notice an
// outage before the callers do, and its end (see Store.ReportLaneSilence).
type breaker struct {
	node     string // the server's address; empty with one server
	failures int
	pause    time.Duration
	logger   *slog.Logger

	answered atomic.Int64 // when a call was last answered, by sinceEpoch
	used     atomic.Int64 // when a call last asked, by sinceEpoch

	mu             sync.Mutex
	state          breakerState
	epoch          uint64    // changes when it opens and closes: the results of earlier calls do not count
	failuresInARow int       // outages in a row
	timeouts       int       // those of them that took a caller's whole timeout; they count twice
	openUntil      time.Time // if open: when a call may try
	probing        bool      // if half-open: a call tries
	cause          error     // if open or half-open: the failure that opened it
}

type breakerState uint8

const (
	breakerClosed breakerState = iota
	breakerOpen
	breakerHalfOpen
)

func (s breakerState) String() string { return [...]string{"closed", "open", "half-open"}[s] }

func sinceEpoch() int64 { return int64(time.Since(epoch)) }

// ticket is the permission to make a call. The result of the call is reported with it.
type ticket struct {
	*breaker
	epoch      uint64
	probe      bool
	background bool
}

// allow returns a ticket for a call, or the error for a server that is not asked. A background call
// is one for which no caller waits. It never takes the place of the one call that tries the server;
// it may be made beside it.
func (b *breaker) allow(background bool) (ticket, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := ticket{breaker: b, epoch: b.epoch, background: background}
	if b.state == breakerClosed {
		return t, nil
	}
	if b.state == breakerOpen && time.Now().Before(b.openUntil) {
		return t, b.skipErrorLocked()
	}
	if b.state == breakerOpen {
		b.setStateLocked(breakerHalfOpen)
	}
	if background {
		return t, nil
	}
	if b.probing {
		return t, b.skipErrorLocked()
	}
	b.probing, t.probe = true, true
	return t, nil
}

// skipError returns the error that allow would return to a caller.
func (b *breaker) skipError() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == breakerOpen && time.Now().Before(b.openUntil) || b.state == breakerHalfOpen && b.probing {
		return b.skipErrorLocked()
	}
	return nil
}

// report records the result of a call. A call whose caller left says nothing about the server.
func (t ticket) report(err error) {
	b := t.breaker
	outage := isOutage(err)
	if err == nil || !outage && !errors.Is(err, errAbandoned) {
		b.answered.Store(sinceEpoch())
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	current := t.epoch == b.epoch
	if t.probe && current {
		b.probing = false
	}
	switch {
	case errors.Is(err, errAbandoned):
	case !outage:
		b.closeLocked()
	case !current || t.background && b.state != breakerClosed:
	case b.state == breakerHalfOpen:
		b.openLocked(b.failuresInARow+1, err)
	case b.state == breakerClosed:
		b.failuresInARow++
		if errors.Is(err, errTimeout) {
			b.timeouts++
		}
		if b.failuresInARow+b.timeouts >= b.failures {
			b.openLocked(b.failuresInARow, err)
		}
	}
}

// openUnlessAnswered opens a closed breaker, unless a call was answered less than span ago.
func (b *breaker) openUnlessAnswered(why error, span time.Duration) {
	if at := b.answered.Load(); at != 0 && sinceEpoch()-at < int64(span) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == breakerClosed {
		b.openLocked(b.failuresInARow, why)
	}
}

// reset closes the breaker: the server answers.
func (b *breaker) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closeLocked()
}

func (b *breaker) isOpen() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state == breakerOpen && time.Now().Before(b.openUntil)
}

func (b *breaker) openLocked(row int, why error) {
	b.failuresInARow, b.timeouts, b.cause, b.openUntil, b.probing = row, 0, why, time.Now().Add(b.pause), false
	b.epoch++
	b.setStateLocked(breakerOpen)
}

func (b *breaker) closeLocked() {
	b.failuresInARow, b.timeouts, b.probing = 0, 0, false
	if b.state != breakerClosed {
		b.epoch++
		b.setStateLocked(breakerClosed)
	}
}

func (b *breaker) setStateLocked(to breakerState) {
	if from := b.state; from != to {
		b.state = to
		args := []any{"from", from.String(), "to", to.String()}
		if b.node != "" {
			args = append(args, "node", b.node)
		}
		if to == breakerOpen {
			args = append(args, "error", b.cause)
		}
		b.logger.Warn("doppio: breaker of the remote tier changed state", args...)
	}
}

// skippedError is the error of a call to a server that was not asked.
type skippedError struct {
	row  int
	left time.Duration // until one call may try; 0: one is trying
	why  string
}

func (e *skippedError) Error() string {
	after := "after the subscription to invalidations lost it"
	switch {
	case e.row == 1:
		after = "after a failure"
	case e.row > 1:
		after = fmt.Sprintf("after %d failures in a row", e.row)
	}
	when := "while one call tries it"
	if e.left > 0 {
		when = fmt.Sprintf("for another %v", e.left.Round(time.Millisecond))
	}
	return fmt.Sprintf("the remote tier is skipped %s, %s; the last failure: %s", when, after, e.why)
}

func (b *breaker) skipErrorLocked() error {
	e := &skippedError{row: b.failuresInARow, why: "none"}
	if b.state == breakerOpen {
		e.left = max(time.Until(b.openUntil), time.Millisecond)
	}
	if cause := (*Error)(nil); errors.As(b.cause, &cause) && cause.Err != nil {
		e.why = withoutQuotedArgs(cause.Err.Error())
	} else if b.cause != nil {
		e.why = withoutQuotedArgs(b.cause.Error())
	}
	return e
}
