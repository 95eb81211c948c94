package invalidation

import (
	"errors"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// Whether the server of a lane answers is noticed here first: an echo asks it four times in MaxStaleness, while a caller
// asks when it wants something, and waits for what does not come.

// met takes what a call to the lane's server met.
func (r *Receiver) met(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.metLocked(err)
}

func (r *Receiver) metLocked(err error) {
	var reply redis.Error
	switch {
	case err == nil, errors.As(err, &reply), errors.Is(err, ErrLaneCount):
		r.answerAt = time.Now()
		if w, ok := r.opts.Handler.(ServerWatcher); ok && r.silent {
			r.silent = false
			w.OnAnswer(r.opts.Lane)
		}
	case errors.Is(err, syscall.ECONNREFUSED):
		r.silenceLocked(err)
	}
}

// silenceLocked tells that the server does not answer.
func (r *Receiver) silenceLocked(why error) {
	if w, ok := r.opts.Handler.(ServerWatcher); ok {
		r.silent = true
		w.OnSilence(r.opts.Lane, why)
	}
}
