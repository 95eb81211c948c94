package invalidation

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// A receiver is the first to notice that the server of a lane does not answer. It probes the server
// four times in MaxStaleness, whether or not a caller needs the server, and callers would have to
// wait for a timeout to notice.

// minSilence is how long probes must go unanswered before the server counts as silent, however
// short MaxStaleness is. A busy machine delays one reply for less.
const minSilence = time.Second

// onResult handles the error, or nil, of a call to the lane's server.
func (r *Receiver) onResult(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.onResultLocked(err)
}

func (r *Receiver) onResultLocked(err error) {
	var reply redis.Error
	switch {
	case err == nil, errors.As(err, &reply), errors.Is(err, ErrLaneCount):
		r.answeredAt = time.Now()
		if w, ok := r.opts.Handler.(ServerWatcher); ok && r.silent {
			r.silent = false
			w.OnAnswer(r.opts.Lane)
		}
	case errors.Is(err, syscall.ECONNREFUSED):
		r.reportSilenceLocked(err)
	}
}

func (r *Receiver) reportSilenceLocked(why error) {
	if w, ok := r.opts.Handler.(ServerWatcher); ok {
		r.silent = true
		w.OnSilence(r.opts.Lane, why)
	}
}

// checkSilence reports a silent server, and ends a subscription over which no echo came back for
// too long. It returns the time until the next check.
func (r *Receiver) checkSilence(now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	interval := r.opts.probeInterval()
	if left := max(r.opts.MaxStaleness/2, minSilence) - now.Sub(r.answeredAt); left <= 0 {
		r.reportSilenceLocked(errUnanswered)
	} else {
		interval = min(interval, max(left, time.Millisecond))
	}
	s := r.sub
	if s == nil {
		return interval
	}
	bound := r.opts.MaxStaleness
	if !s.ready() {
		bound = max(bound, minSetup)
	}
	if left := bound - now.Sub(s.probedAt); left > 0 {
		return min(left, interval)
	}
	err := errSilent
	if r.probes.lastErr != nil {
		err = fmt.Errorf("%w: %w", errSilent, r.probes.lastErr)
	}
	_ = r.endLocked(s, err) // it returns an earlier reason if there is one
	return r.opts.probeInterval()
}
