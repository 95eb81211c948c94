package tiered

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/doppio-cache/doppio/internal/coherence"
	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/remote"
)

// fillRight is a load's right to fill a key: what must still be in place then. Without expected the
// loader still runs, and fills only the local tier.
type fillRight struct {
	expected  []byte // the token of a lease, or of the record that is to be replaced, or what stands in its place
	ownsLease bool   // expected is the token of this load's own lease
	// replaces is the token of a record that was invalidated, in whose place a lease may be taken.
	replaces []byte
	tags     []remote.Tag
	unread   bool // the key was not read: the lease is asked for first
	// since is when the lease was asked for, a reading of local.Monotonic: its life is counted from
	// then at the earliest.
	since int64
}

// fillRightFor returns the right to replace what was found, or that a lease is needed because
// nothing was there, or another load's. A record of a later version and another Redis type are left
// alone; a remote tier that could not be read is not written either.
func fillRightFor[V any](token remote.Token, found lookup[V], err error) (right fillRight, needLease bool) {
	var malformed *remote.MalformedError
	switch {
	case errors.As(err, &malformed):
		return fillRight{expected: malformed.Seen}, false
	case found.state == stale && found.value == nil:
		return fillRight{replaces: token[:]}, true
	case found.state == hit || found.state == stale || found.state == corrupt:
		return fillRight{expected: token[:]}, false
	}
	return fillRight{}, found.state == leased || found.state == leaseInvalidated || found.state == miss && errors.Is(err, ErrNotFound)
}

// leasesFirst reports whether a load begins by asking for the lease, which is refused with whatever
// is there: a round trip less than a read before it where most keys are missing, as when a cache is
// cold. A lease shows the tags of what is being loaded, and their versions take a round trip that a
// remote hit can do without; a refresh wants the record that is there replaced; and many keys cost
// less to read.
func (l *load[V]) leasesFirst() bool {
	return len(l.keys) == 1 && l.keys[0].read == nil && !l.refresh && len(l.st.tags) == 0 && l.cache.shared.recent.mostlyMisses()
}

// leaseOutcome is how asking for a lease ended.
type leaseOutcome uint8

const (
	noRight       leaseOutcome = iota // there is no right to fill to be had: load without
	acquired                          // the lease, or what is there, may be replaced
	heldElsewhere                     // another instance is loading
	invalidated                       // another instance is loading what was invalidated since: its lease is to be taken from it
	retry                             // the lease may be asked for again at once
	valueFound                        // another instance has loaded
)

// The pauses between looks at another instance's load. Its end wakes the loads that wait; looks are
// for when that was missed: the instance died, or no message comes.
const (
	minPollInterval = 25 * time.Millisecond
	maxPollInterval = 500 * time.Millisecond

	// maxTaken bounds how many leases in a row a load takes from others before it pauses: an
	// instance that hears nothing may take them as fast.
	maxTaken = 3
)

// acquireLeases asks for leases on keys, while at most one load of each runs in the fleet. It marks
// as busy the keys that other instances load.
func (l *load[V]) acquireLeases(ctx context.Context, keys []*keyLoad[V]) {
	if len(keys) == 0 {
		return
	}
	// Before the leases are asked for: an instance that holds one announces its end only if it
	// knows of a load that waits.
	l.waiter = l.newWaiter(keys)
	waiting, again := l.claim(ctx, keys, l.until)
	l.markBusy(append(waiting, l.claimAgain(ctx, again)...))
	for _, k := range keys {
		if !k.busy && !k.ended {
			l.waiter.StopFor(k.hash)
		}
	}
}

// newWaiter returns a waiter for keys.
func (l *load[V]) newWaiter(keys []*keyLoad[V]) *coherence.Waiter {
	if len(keys) == 1 {
		return l.cache.shared.client.co.NewWaiter(keys[0].hash)
	}
	hashes := make([]uint64, len(keys))
	for i, k := range keys {
		hashes[i] = k.hash
	}
	return l.cache.shared.client.co.NewWaiter(hashes...)
}

// claimAgain asks again for leases that may be asked for again at once, but not for ever, and
// returns the keys that have to wait.
func (l *load[V]) claimAgain(ctx context.Context, keys []*keyLoad[V]) (waiting []*keyLoad[V]) {
	for len(keys) > 0 {
		var due []*keyLoad[V]
		for _, k := range keys {
			if k.taken++; k.taken > maxTaken {
				k.taken, waiting = 0, append(waiting, k)
			} else {
				due = append(due, k)
			}
		}
		var more []*keyLoad[V]
		more, keys = l.claim(ctx, due, time.Time{})
		waiting = append(waiting, more...)
	}
	return waiting
}

// markBusy notes that other instances load keys, and tells their callers.
func (l *load[V]) markBusy(keys []*keyLoad[V]) {
	for _, k := range keys {
		k.busy = true
		if !k.waits {
			k.waits = true
			close(k.call.Info.busy)
			l.cache.shared.counts.leasesBusy.Add(1)
		}
	}
}

// claim asks for the lease of each key. It ends the keys whose values others have stored meanwhile,
// and renews the leases that it got. It returns the keys that other instances are loading, and
// those whose leases may be asked for again at once. Leases of the first keys are renewed while
// those of the last are taken. Asking ends at until, if that is set: later looks are about another
// instance's load, and have a budget each.
func (l *load[V]) claim(ctx context.Context, keys []*keyLoad[V], until time.Time) (waiting, again []*keyLoad[V]) {
	for part := range slices.Chunk(keys, leasesTogether) {
		if ctx.Err() != nil {
			break // runLoader says what that means
		}
		w, a := l.claimTogether(ctx, part, until)
		waiting, again = append(waiting, w...), append(again, a...)
	}
	return waiting, again
}

func (l *load[V]) claimTogether(ctx context.Context, keys []*keyLoad[V], until time.Time) (waiting, again []*keyLoad[V]) {
	s := l.cache.shared
	requests := make([]remote.LeaseRequest, len(keys))
	for i, k := range keys {
		token := remote.NewToken()
		k.call.Info.view.Restart()
		requests[i] = remote.LeaseRequest{Key: s.prefix + k.key, Token: token, Stamp: k.call.Info.ID, Tags: k.right.tags, Replaces: k.right.replaces}
	}
	asking := ctx
	if !until.IsZero() {
		asking = remote.Until(ctx, until)
	}
	since := local.Monotonic()
	results := s.client.coalesced.acquireMany(asking, requests)
	known := l.versionsOfFound(ctx, keys, results)
	var outdated []remote.Lease
	var losing []*keyLoad[V]
	for i, k := range keys {
		r := &results[i]
		k.right.since = since
		how, res, err := l.resolveLease(ctx, k, &requests[i], r, known)
		switch how {
		case valueFound:
			l.waiter.StopFor(k.hash) // before its callers are told
			l.finish(k, res, err)
		case heldElsewhere:
			waiting = append(waiting, k)
		case retry:
			again = append(again, k)
		case invalidated:
			outdated = append(outdated, remote.Lease{Key: requests[i].Key, Token: r.Found.Token[:]})
			losing = append(losing, k)
		case acquired:
			l.hold(k)
		}
	}
	if len(outdated) > 0 {
		_, errs := s.client.remote.ReleaseMany(ctx, outdated)
		for i, err := range errs {
			l.note(ctx, err)
			if err == nil {
				again = append(again, losing[i])
			}
		}
	}
	return waiting, again
}

// versionsOfFound reads the versions of the tags of what was found in the place of leases; nil for
// a single one, whose versions are read where it is resolved.
func (l *load[V]) versionsOfFound(ctx context.Context, keys []*keyLoad[V], results []remote.LeaseResult) *tagVersions {
	s := l.cache.shared
	var found []remote.Result
	for i, k := range keys {
		if tags := results[i].Found.Tags; len(tags) > 0 {
			s.addTags(k.call, tags)
			found = append(found, remote.Result{Record: results[i].Found})
		}
	}
	if len(keys) == 1 {
		return nil
	}
	return s.versionsOf(ctx, found)
}

// resolveLease completes the right to fill a key with a lease that was asked for, or with what was
// found in its place; or it returns the value that another load has stored meanwhile.
func (l *load[V]) resolveLease(ctx context.Context, k *keyLoad[V], req *remote.LeaseRequest, r *remote.LeaseResult, known *tagVersions) (leaseOutcome, result[V], error) {
	s := l.cache.shared
	unread := k.right.unread
	k.right.unread = false
	if r.Acquired {
		if unread {
			s.countRemoteLookup(false)
		}
		k.right.expected, k.right.ownsLease = req.Token[:], true
		return acquired, result[V]{}, nil
	}
	p := prefetched[V]{rec: r.Found, at: time.Now()}
	p.found, p.err = s.classifyRemote(ctx, p.at, k.hash, k.key, &p.rec, r.Err, known)
	l.note(ctx, p.err)
	if unread && p.found.state != miss {
		s.countRemoteLookup(p.found.state == hit || p.found.state == negativeHit)
	}
	p.found, p.err = l.sweep(ctx, k, p.found, p.err)
	switch p.found.state {
	case miss:
		if errors.Is(p.err, ErrNotFound) {
			return retry, result[V]{}, nil // what was there has been swept away
		}
	case hit:
		return valueFound, l.found(k, &p), nil
	case negativeHit:
		return valueFound, l.found(k, &p), ErrNotFound
	case leased:
		return heldElsewhere, result[V]{}, nil
	case leaseInvalidated:
		return invalidated, result[V]{}, nil
	case stale, corrupt:
		l.keepFallback(k, &p)
		right, _ := fillRightFor(p.rec.Token, p.found, p.err)
		if k.right.expected, k.right.replaces = right.expected, right.replaces; len(k.right.replaces) > 0 {
			return retry, result[V]{}, nil
		}
		if len(k.right.expected) > 0 {
			return acquired, result[V]{}, nil
		}
	}
	return noRight, result[V]{}, nil
}

// awaitOthers waits for the loads of other instances, as long as a load may take. It leaves keys
// without a result that this load is to load, with the lease or, after all that time, without.
func (l *load[V]) awaitOthers(ctx context.Context, keys []*keyLoad[V]) {
	byHash := make(map[uint64][]*keyLoad[V], len(keys))
	for _, k := range keys {
		byHash[k.hash] = append(byHash[k.hash], k)
	}
	patience := time.NewTimer(l.st.hardTimeout)
	defer patience.Stop()
	interval := minPollInterval
	for slices.ContainsFunc(keys, func(k *keyLoad[V]) bool { return k.busy }) {
		var due []*keyLoad[V]
		pause := time.NewTimer(interval/2 + rand.N(interval/2+1))
		select {
		case <-l.waiter.C:
			for _, h := range l.waiter.Woken() {
				due = append(due, byHash[h]...)
			}
		case <-pause.C:
			interval = min(2*interval, maxPollInterval)
			due = append(due, keys...)
		case <-patience.C:
			pause.Stop()
			return
		case <-ctx.Done():
			pause.Stop()
			return // runLoader says what that means
		}
		pause.Stop()
		due = slices.DeleteFunc(due, func(k *keyLoad[V]) bool { return !k.busy })
		for _, k := range due {
			k.busy, k.taken = false, 0
		}
		waiting, again := l.claim(ctx, due, time.Time{})
		l.markBusy(append(waiting, l.claimAgain(ctx, again)...))
	}
}

// leaseLife is how long a lease is held without a sign of life: where its holder dies, others wait
// no longer than that. A load that is slower renews it; see leaseKeeper.
const leaseLife = 3 * time.Second

const (
	// renewAfter is how long after a lease was taken or renewed it is renewed.
	renewAfter = leaseLife / 3
	// renewEarly is how much earlier a lease is renewed where others are due, so that leases that
	// were taken one after the other are renewed in the same round trips.
	renewEarly = leaseLife / 6
	// leasesTogether is how many leases one round trip takes, renews, fills or gives back at most.
	// It bounds by how much the life of the last of them is shorter than is thought.
	leasesTogether = 512
)

// leaseKeeper renews the leases of one load, or of one batch of loads, until they are let go: with
// one timer, and with one goroutine while it renews, however many there are. The life of each lease
// is counted from before it was asked for, so none ends earlier than is thought.
type leaseKeeper struct {
	client *Client
	ctx    context.Context //nolint:containedctx // its load's
	owner  interface {
		note(ctx context.Context, err error)
	}

	mu       sync.Mutex
	leases   []*heldLease // guarded by mu
	timer    *time.Timer  // guarded by mu; nil until there is a lease
	planned  int64        // guarded by mu: when the timer fires
	renewing bool         // guarded by mu: a round is under way, and sets the timer when it ends
	over     bool         // guarded by mu

	first [1]*heldLease // room for the lease of a single load
}

// heldLease is a lease that a leaseKeeper renews.
type heldLease struct {
	key   string
	token []byte
	due   int64 // guarded by leaseKeeper.mu: when it is to be renewed
	gone  bool  // guarded by leaseKeeper.mu: it is not renewed any more
}

// start readies a keeper for the leases of a load, or of a batch of them.
func (k *leaseKeeper) start(ctx context.Context, c *Client, owner interface {
	note(ctx context.Context, err error)
}) {
	k.client, k.ctx, k.owner, k.planned = c, ctx, owner, math.MaxInt64
	k.leases = k.first[:0]
}

// keep renews a lease that was asked for at the reading since, from now on.
func (k *leaseKeeper) keep(key string, token []byte, since int64) *heldLease {
	l := &heldLease{key: key, token: token, due: since + int64(renewAfter)}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.leases = append(k.leases, l)
	if !k.renewing && !k.over {
		k.planLocked(l.due)
	}
	return l
}

// planLocked makes the timer fire at due at the latest.
func (k *leaseKeeper) planLocked(due int64) {
	if due >= k.planned {
		return
	}
	k.planned = due
	pause := time.Duration(max(0, due-local.Monotonic()))
	if k.timer == nil {
		k.timer = time.AfterFunc(pause, k.renew)
		return
	}
	k.timer.Reset(pause)
}

// drop ends the renewal of a lease.
func (k *leaseKeeper) drop(l *heldLease) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l.gone = true
}

// release ends the renewal of all leases. It does not wait for one that is under way.
func (k *leaseKeeper) release() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.over = true
	if k.timer != nil {
		k.timer.Stop()
	}
}

// renew renews the leases that are due.
func (k *leaseKeeper) renew() {
	if !k.client.start() {
		return
	}
	defer k.client.running.Done()
	for part := range slices.Chunk(k.begin(), leasesTogether) {
		renewals := make([]remote.Lease, len(part))
		for i, l := range part {
			renewals[i] = remote.Lease{Key: l.key, Token: l.token}
		}
		sent := local.Monotonic()
		held, errs := k.client.remote.RenewMany(k.ctx, renewals, leaseLife)
		if !k.renewed(part, sent, held, errs) {
			break
		}
	}
	k.plan()
}

// begin gives the leases that are due.
func (k *leaseKeeper) begin() (due []*heldLease) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.planned, k.renewing = math.MaxInt64, true
	k.leases = slices.DeleteFunc(k.leases, func(l *heldLease) bool { return l.gone })
	soon := local.Monotonic() + int64(renewEarly)
	for _, l := range k.leases {
		if l.due <= soon {
			due = append(due, l)
		}
	}
	return due
}

// renewed notes what became of renewals that were sent at the reading given, and tells whether more
// are wanted.
func (k *leaseKeeper) renewed(part []*heldLease, sent int64, held []bool, errs []error) (more bool) {
	var failed error
	k.mu.Lock()
	for i, l := range part {
		switch {
		case errs[i] != nil:
			failed = errs[i]
			l.due = local.Monotonic() + int64(renewEarly)
		case held[i]:
			l.due = sent + int64(renewAfter)
		default:
			l.gone = true // its fill will be refused
		}
	}
	over := k.over
	k.mu.Unlock()
	k.owner.note(k.ctx, failed) // one for all: they shared a round trip
	return !over && k.ctx.Err() == nil
}

// plan sets the timer for the leases that are left.
func (k *leaseKeeper) plan() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.renewing = false
	if k.over || k.ctx.Err() != nil {
		return
	}
	for _, l := range k.leases {
		if !l.gone {
			k.planLocked(l.due)
		}
	}
}

// hold renews the lease of a key, if the load owns one, until letGo or the end of the load. Most
// loads end before anything has to be done for it.
func (l *load[V]) hold(k *keyLoad[V]) {
	if !k.right.ownsLease || k.lease != nil {
		return
	}
	k.lease = l.keeper.keep(l.cache.shared.prefix+k.key, k.right.expected, k.right.since)
}

// letGo ends the renewal of a key's lease.
func (l *load[V]) letGo(k *keyLoad[V]) {
	if k.lease != nil {
		l.keeper.drop(k.lease)
		k.lease = nil
	}
}
