package remote

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// If the reply to Acquire comes after its caller has left, no caller holds the lease: the caller
// loads without it, and other instances would wait for its end. So the round trip itself releases
// the lease when the late reply comes. If no reply comes, the lease may have been granted: it is
// released by the token that was asked for.

// minReleasePause is the first pause between two attempts to release leases.
const minReleasePause = 50 * time.Millisecond

// releaseIfAbandoned makes the round trip of ctx release its leases, if it ends without telling its
// caller that it holds them. errs are the classified results of the leases: ErrNotFound for one
// that was granted.
func (s *Store) releaseIfAbandoned(ctx context.Context, life time.Duration, leases []Lease, errs []error) {
	t, ok := ctx.(*roundTrip)
	if !ok {
		return
	}
	t.onEnd = func(heard bool) {
		var owed []Lease
		for i, err := range errs {
			if errors.Is(err, ErrUnknownOutcome) || !heard && errors.Is(err, ErrNotFound) {
				owed = append(owed, leases[i])
			}
		}
		if len(owed) > 0 {
			s.releaseAbandoned(t.Context, life, owed)
		}
	}
}

// releaseAbandoned releases leases. If the server does not answer it tries again, until they have
// ended by themselves or the store is closed. A failure is not reported: others then wait until the
// lease ends, and no longer.
func (s *Store) releaseAbandoned(ctx context.Context, life time.Duration, owed []Lease) {
	over := time.NewTimer(life)
	defer over.Stop()
	for pause := minReleasePause; ; pause *= 2 {
		_, errs := s.ReleaseMany(&callMode{Context: context.WithoutCancel(ctx), background: true, partOfCall: true}, owed)
		left := owed[:0:0]
		for i, err := range errs {
			if errors.Is(err, ErrUnavailable) {
				left = append(left, owed[i])
			}
		}
		if owed = left; len(owed) == 0 {
			return
		}
		timer := time.NewTimer(pause/2 + rand.N(pause/2+1))
		select {
		case <-timer.C:
			continue
		case <-over.C:
		case <-s.closing:
		}
		timer.Stop()
		return
	}
}
