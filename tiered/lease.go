package tiered

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/remote"
)

// hold keeps the lease of a single load alive until release is called, which does not wait. Most loads end before
// anything has to be done for it.
func (j *job[V]) hold(ctx context.Context, st seat) (release func()) {
	if !st.leased {
		return func() {}
	}
	k := newKeeper(ctx, j.cache.client, j)
	k.keep(j.cache.prefix+j.key, st.witness, st.since)
	return k.release
}

// verdict is how asking for a lease ended.
type verdict uint8

const (
	unseated verdict = iota // there is no right to fill to be had: load without
	seated                  // the lease, or what is there, may be replaced
	busy                    // another instance is loading
	outdated                // another instance is loading what was invalidated since: its lease is to be taken from it
	free                    // the lease may be asked for again at once
	loaded                  // another instance has loaded
)

// The pauses between looks at another instance's load. Its end wakes those who wait; looking is for when that was missed:
// the instance died, or nothing is heard.
const (
	firstLook = 25 * time.Millisecond
	lastLook  = 500 * time.Millisecond

	// maxTaken bounds how many leases in a row a load takes from others before it pauses: an instance that hears nothing may
	// take them as fast.
	maxTaken = 3
)

// claim completes a seat with a lease on the key, while at most one load runs in the fleet: where another instance holds
// the lease, it waits for that load, as long as a load may take, and then goes on without the right to fill.
func (j *job[V]) claim(ctx context.Context, f *flight[V], st *seat) (landing[V], error, bool) {
	s := j.cache.shared
	woken := s.client.co.NewWaiter(j.hash)
	defer woken.Stop()
	patience := time.NewTimer(j.st.hardTimeout)
	defer patience.Stop()
	look, waits, taken := firstLook, false, 0
	first := true // later looks are about another instance's load, and have a budget each
	for {
		asking := ctx
		if first && !j.until.IsZero() {
			asking = remote.Until(ctx, j.until)
		}
		first = false
		f.view.Restart()
		token := remote.NewToken()
		st.since = local.Monotonic()
		claim := s.client.calls.acquire(asking, remote.Claim{Key: s.prefix + j.key, Token: token, Stamp: f.ID, Replaces: st.replaces, Tags: st.tags})
		how, end, err := j.claimed(ctx, f, st, token, claim.Won, claim.Found, claim.Err, nil)
		if how == outdated {
			how = free
			if _, err := s.client.far.Release(ctx, s.prefix+j.key, claim.Found.Token[:]); err != nil {
				j.note(ctx, err)
				how = unseated
			}
		}
		switch {
		case how == loaded:
			return end, err, true
		case how == free && taken < maxTaken:
			taken++
			continue
		case how != busy && how != free:
			return landing[V]{}, nil, false
		}
		if !waits {
			waits = true
			close(f.busy)
			s.counts.leasesBusy.Add(1)
		}
		pause := time.NewTimer(look/2 + rand.N(look/2+1))
		select {
		case <-woken.C:
			woken.Woken()
			pause.Stop()
		case <-pause.C:
			look = min(2*look, lastLook)
		case <-patience.C:
			pause.Stop()
			return landing[V]{}, nil, false
		case <-ctx.Done():
			pause.Stop()
			return landing[V]{}, nil, false // runLoad says what that means
		}
	}
}

// wakeOthers tells the instances that wait for this load that it is over.
func (j *job[V]) wakeOthers(ctx context.Context) {
	j.note(ctx, j.cache.client.co.AnnounceFilled(ctx, []uint64{j.hash}))
}

// claimed completes a seat with a lease that was asked for, or with what was found in its place; or it gives the value
// that somebody else has stored meanwhile. known has the versions of the found record's tags, where they were asked for already.
func (j *job[V]) claimed(ctx context.Context, f *flight[V], st *seat, token remote.Token, won bool, found remote.Record, err error, known *tagVersions) (verdict, landing[V], error) {
	s := j.cache.shared
	first := st.unread
	st.unread = false
	if won {
		if first {
			s.metFar(false)
		}
		st.witness, st.leased = token[:], true
		return seated, landing[V]{}, nil
	}
	if known == nil {
		s.flights.carries(f, s.tagHashes(tagNames(found.Tags)))
	}
	seen, err := s.examine(ctx, time.Now(), j.hash, j.key, found, err, known)
	j.note(ctx, err)
	if first && seen.state != nothing {
		s.metFar(seen.state == live || seen.state == negative)
	}
	seen, err = j.sweep(ctx, seen, err)
	switch seen.state {
	case nothing:
		if errors.Is(err, ErrNotFound) {
			return free, landing[V]{}, nil // what was there has been swept away
		}
	case live:
		return loaded, j.found(f, &found, seen), nil
	case negative:
		return loaded, j.found(f, &found, seen), ErrNotFound
	case leased:
		return busy, landing[V]{}, nil
	case overtaken:
		return outdated, landing[V]{}, nil
	case stale, unreadable:
		f.stale.add(&kept[V]{value: seen.value, from: f.Point, tags: s.tagHashes(tagNames(found.Tags))})
		again, _ := seatOf(found.Token, seen, err)
		if st.witness, st.replaces = again.witness, again.replaces; len(st.replaces) > 0 {
			return free, landing[V]{}, nil
		}
		if len(st.witness) > 0 {
			return seated, landing[V]{}, nil
		}
	}
	return unseated, landing[V]{}, nil
}
