package tiered

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/remote"
)

// leaseLife is how long a lease is held without a sign of life: where its holder dies, others wait no longer than that. A
// load that is slower renews it; see leaseKeeper.
const leaseLife = 3 * time.Second

const (
	// renewAfter is how long after a lease was taken or renewed it is renewed.
	renewAfter = leaseLife / 3
	// renewEarly is how much earlier a lease is renewed where others are due, so that leases that were taken one
	// after the other are renewed in the same round trips.
	renewEarly = leaseLife / 6
	// leasesTogether is how many leases one round trip takes, renews, fills or gives back at most. It bounds by how much
	// the life of the last of them is shorter than is thought.
	leasesTogether = 512
)

// leaseKeeper renews the leases of one load, or of one batch of loads, until they are let go: with one timer, and with one
// goroutine while it renews, however many there are. The life of each lease is counted from before it was asked for,
// so none ends earlier than is thought.
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

// renewed notes what became of renewals that were sent at the reading given, and tells whether more are wanted.
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

// hold renews the lease of a key, if the load owns one, until letGo or the end of the load. Most loads end
// before anything has to be done for it.
func (l *load[V]) hold(k *keyLoad[V]) {
	if !k.right.ownsLease || k.lease != nil {
		return
	}
	k.lease = l.keeper.keep(l.cache.prefix+k.key, k.right.expected, k.right.since)
}

// letGo ends the renewal of a key's lease.
func (l *load[V]) letGo(k *keyLoad[V]) {
	if k.lease != nil {
		l.keeper.drop(k.lease)
		k.lease = nil
	}
}
