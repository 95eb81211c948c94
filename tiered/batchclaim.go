package tiered

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/remote"
)

// ask asks for a lease for each leg. It ends the legs whose values others have stored meanwhile, renews the leases that
// it got, and gives the legs whose keys other instances are loading: free are those whose leases may be asked for again
// at once. Leases of the first keys are renewed while those of the last are taken.
func (b *batch[V]) ask(ctx context.Context, legs []*leg[V]) (waiting, free []*leg[V]) {
	for part := range slices.Chunk(legs, leasesTogether) {
		if ctx.Err() != nil {
			break // runLoad says what that means
		}
		w, f := b.askTogether(ctx, part)
		waiting, free = append(waiting, w...), append(free, f...)
	}
	return waiting, free
}

func (b *batch[V]) askTogether(ctx context.Context, legs []*leg[V]) (waiting, freed []*leg[V]) {
	s := b.cache.shared
	claims := make([]remote.Claim, len(legs))
	for i, l := range legs {
		claims[i] = remote.Claim{Key: s.prefix + l.job.key, Token: remote.NewToken(), Stamp: l.flight.ID, Tags: l.seat.tags, Replaces: l.seat.replaces}
	}
	for _, l := range legs {
		l.flight.view.Restart()
	}
	since := local.Monotonic()
	s.client.far.AcquireMany(context.WithoutCancel(ctx), claims, leaseLife)
	var found []remote.Result
	for i, l := range legs {
		if tags := claims[i].Found.Tags; len(tags) > 0 {
			s.flights.carries(l.flight, s.tagHashes(tagNames(tags)))
			found = append(found, remote.Result{Record: claims[i].Found})
		}
	}
	known := s.versionsOf(ctx, found)
	var lost []remote.Renewal
	var losing []*leg[V]
	for i := range claims {
		claim, l := &claims[i], legs[i]
		l.seat.since = since
		how, end, err := l.job.claimed(ctx, l.flight, &l.seat, claim.Token, claim.Won, claim.Found, claim.Err, known)
		switch how {
		case loaded:
			if l.waiter != nil { // before anybody is told: it is not waited for any more
				l.waiter.StopFor(l.job.hash)
			}
			l.finish(end, err)
		case busy:
			waiting = append(waiting, l)
		case free:
			freed = append(freed, l)
		case outdated:
			lost = append(lost, remote.Renewal{Key: claim.Key, Token: claim.Found.Token[:]})
			losing = append(losing, l)
		case seated:
			b.hold(l)
		}
	}
	if len(lost) > 0 {
		_, errs := s.client.far.ReleaseMany(ctx, lost)
		for i, err := range errs {
			if err == nil {
				freed = append(freed, losing[i])
			}
		}
		b.note(ctx, errs)
	}
	return waiting, freed
}

// awaitOthers waits for the loads of other instances, as long as a load may take, with one goroutine for all legs. It
// leaves those without an end that this batch is to load, with the lease or, after all that time, without.
func (b *batch[V]) awaitOthers(ctx context.Context, legs []*leg[V]) {
	s := b.cache.shared
	byHash := make(map[uint64][]*leg[V], len(legs))
	hashes := make([]uint64, len(legs))
	for i, l := range legs {
		hashes[i] = l.job.hash
		byHash[l.job.hash] = append(byHash[l.job.hash], l)
	}
	w := s.client.co.NewWaiter(hashes...)
	defer w.Stop()
	for _, l := range legs {
		l.waiter = w
	}
	patience := time.NewTimer(b.st.hardTimeout)
	defer patience.Stop()
	due, look := legs, firstLook
	for {
		for _, l := range due {
			l.busy = false
		}
		waiting, freed := b.ask(ctx, due)
		due = due[:0:0]
		for _, l := range freed {
			if l.taken++; l.taken > maxTaken {
				l.taken, waiting = 0, append(waiting, l)
			} else {
				due = append(due, l)
			}
		}
		for _, l := range waiting {
			l.busy = true
			if !l.waits {
				l.waits = true
				close(l.flight.busy)
				s.counts.leasesBusy.Add(1)
			}
		}
		if len(due) > 0 {
			continue
		}
		if !slices.ContainsFunc(legs, func(l *leg[V]) bool { return l.busy }) {
			return
		}
		pause := time.NewTimer(look/2 + rand.N(look/2+1))
		select {
		case <-w.C:
			for _, h := range w.Woken() {
				due = append(due, byHash[h]...)
			}
		case <-pause.C:
			look = min(2*look, lastLook)
			due = append(due, legs...)
		case <-patience.C:
			pause.Stop()
			return
		case <-ctx.Done():
			pause.Stop()
			return
		}
		pause.Stop()
		due = slices.DeleteFunc(due, func(l *leg[V]) bool { return !l.busy })
	}
}
