package remote

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// A lease whose acquisition is answered after its caller has left is held by nobody: the caller
// loads without it, and other instances would wait for its end. So the round trip itself gives it
// back when the late reply comes. Where no reply comes, the lease may have been granted: it is
// given back by the token that was asked for.

// owing is how long the pauses between attempts to give leases back are at first.
const owing = 50 * time.Millisecond

// owes makes the round trip that ctx is of give leases back of which its caller does not hear that it holds them. errs
// tells how the acquisition of each went, classified: ErrNotFound for one that was granted.
func (s *Store) owes(ctx context.Context, life time.Duration, leases []Renewal, errs []error) {
	t, ok := ctx.(*trip)
	if !ok {
		return
	}
	t.undo = func(heard bool) {
		var owed []Renewal
		for i, err := range errs {
			if errors.Is(err, ErrUnknownOutcome) || !heard && errors.Is(err, ErrNotFound) {
				owed = append(owed, leases[i])
			}
		}
		if len(owed) > 0 {
			s.giveBack(t.Context, life, owed)
		}
	}
}

// giveBack gives leases back. Where the server does not answer it tries again, until they have
// ended by themselves or the store is closed. A failure is not reported: others then wait for the
// end of the lease, and no longer.
func (s *Store) giveBack(ctx context.Context, life time.Duration, owed []Renewal) {
	over := time.NewTimer(life)
	defer over.Stop()
	for pause := owing; ; pause *= 2 {
		_, errs := s.ReleaseMany(&manner{Context: context.WithoutCancel(ctx), background: true, within: true}, owed)
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
