package remote

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/doppio-cache/doppio/internal/topology"
)

// breaker is the failure detector of one server. While it is closed, calls go through. After an outage it is open: calls
// fail at once, so that no caller waits for a server that does not answer. After a pause one call at a time tries.
//
// It has two sources: the calls themselves, and whoever listens to the server all the time (see Store.LaneSilent), which
// notices an outage before the callers do, and its end.
type breaker struct {
	node     string // the server's address; empty where there is one server
	failures int
	pause    time.Duration
	log      *slog.Logger

	answered atomic.Int64 // when a call was last answered, by sinceEpoch
	used     atomic.Int64 // when a call last asked, likewise

	mu       sync.Mutex
	state    breakerState
	epoch    uint64    // counts how often it opened: what began before says nothing about the server of now
	row      int       // outages in a row
	timeouts int       // of them, those that took a caller's whole timeout: they count twice
	until    time.Time // of open: when a call may try
	probing  bool      // of halfOpen: a call tries
	why      error     // of open and halfOpen: what opened it
}

type breakerState uint8

const (
	closed breakerState = iota
	open
	halfOpen
)

func (s breakerState) String() string { return [...]string{"closed", "open", "half-open"}[s] }

func sinceEpoch() int64 { return int64(time.Since(epoch)) }

// ticket is a call's permission, to be given back with what the call met.
type ticket struct {
	*breaker
	epoch      uint64
	probe      bool
	background bool
}

// allow gives a call its ticket, or says why the server is not asked. A background call is one that nobody waits for. It
// never takes the place of the one call that tries: a caller's call does. It may go beside it.
func (b *breaker) allow(background bool) (ticket, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := ticket{breaker: b, epoch: b.epoch, background: background}
	if b.state == closed {
		return t, nil
	}
	if b.state == open && time.Now().Before(b.until) {
		return t, b.skippedLocked()
	}
	if b.state == open {
		b.moveLocked(halfOpen)
	}
	if background {
		return t, nil
	}
	if b.probing {
		return t, b.skippedLocked()
	}
	b.probing, t.probe = true, true
	return t, nil
}

// skips gives the error that allow would give a caller, without a ticket.
func (b *breaker) skips() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == open && time.Now().Before(b.until) || b.state == halfOpen && b.probing {
		return b.skippedLocked()
	}
	return nil
}

// report takes what a call met. A call whose caller left teaches nothing.
func (t ticket) report(err error) {
	b := t.breaker
	outage := isOutage(err)
	if err == nil || !outage && !errors.Is(err, errLeft) {
		b.answered.Store(sinceEpoch())
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	current := t.epoch == b.epoch
	if t.probe && current {
		b.probing = false
	}
	switch {
	case errors.Is(err, errLeft):
	case !outage:
		b.closeLocked()
	case !current || t.background && b.state != closed:
	case b.state == halfOpen:
		b.tripLocked(b.row+1, err)
	case b.state == closed:
		b.row++
		if errors.Is(err, errTimeout) {
			b.timeouts++
		}
		if b.row+b.timeouts >= b.failures {
			b.tripLocked(b.row, err)
		}
	}
}

// suspect opens a closed breaker, unless a call was answered less than span ago.
func (b *breaker) suspect(why error, span time.Duration) {
	if at := b.answered.Load(); at != 0 && sinceEpoch()-at < int64(span) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == closed {
		b.tripLocked(b.row, why)
	}
}

// recover closes the breaker: the server answers.
func (b *breaker) recover() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closeLocked()
}

func (b *breaker) isOpen() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state == open && time.Now().Before(b.until)
}

func (b *breaker) tripLocked(row int, why error) {
	b.row, b.timeouts, b.why, b.until, b.probing = row, 0, why, time.Now().Add(b.pause), false
	b.epoch++
	b.moveLocked(open)
}

func (b *breaker) closeLocked() {
	b.row, b.timeouts, b.probing = 0, 0, false
	if b.state != closed {
		b.epoch++
		b.moveLocked(closed)
	}
}

func (b *breaker) moveLocked(to breakerState) {
	if from := b.state; from != to {
		b.state = to
		args := []any{"from", from.String(), "to", to.String()}
		if b.node != "" {
			args = append(args, "node", b.node)
		}
		if to == open {
			args = append(args, "error", b.why)
		}
		b.log.Warn("doppio: breaker of the far tier changed state", args...)
	}
}

// skipped says that a server was not asked.
type skipped struct {
	row  int
	left time.Duration // until one call may try; 0: one does
	why  string
}

func (e *skipped) Error() string {
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

func (b *breaker) skippedLocked() error {
	e := &skipped{row: b.row, why: "none"}
	if b.state == open {
		e.left = max(time.Until(b.until), time.Millisecond)
	}
	if cause := (*Error)(nil); errors.As(b.why, &cause) && cause.Err != nil {
		e.why = withoutEcho(cause.Err.Error())
	} else if b.why != nil {
		e.why = withoutEcho(b.why.Error())
	}
	return e
}

// nodes are the breakers of a Cluster, one for each master: a node that does not answer is no concern of the keys of
// others.
type nodes struct {
	find   topology.Masters
	fresh  func(addr string) *breaker
	lost   *breaker    // of calls that are made before the cluster's layout is known
	layout atomic.Bool // go-redis has the layout, and gives a key's node without asking for it

	mu     sync.RWMutex
	byAddr map[string]*breaker
}

// forgetAfter is how long the breaker of a node that is not asked any more is kept.
const forgetAfter = time.Minute

// of gives the breaker of the node that has key.
func (n *nodes) of(ctx context.Context, key string) *breaker {
	if !n.layout.Load() {
		if n.lost.answered.Load() == 0 {
			return n.lost
		}
		n.layout.Store(true)
	}
	master, err := n.find.MasterForKey(ctx, key)
	if err != nil {
		return n.lost
	}
	return n.named(master.Options().Addr)
}

// named gives the breaker of the node with this address.
func (n *nodes) named(addr string) *breaker {
	n.mu.RLock()
	b := n.byAddr[addr]
	n.mu.RUnlock()
	if b == nil {
		b = n.add(addr)
	}
	b.used.Store(sinceEpoch())
	return b
}

// add makes the breaker of a node, and forgets those of nodes that have left the cluster.
func (n *nodes) add(addr string) *breaker {
	n.mu.Lock()
	defer n.mu.Unlock()
	if b := n.byAddr[addr]; b != nil {
		return b
	}
	now := sinceEpoch()
	for a, b := range n.byAddr {
		if now-b.used.Load() > int64(forgetAfter) {
			delete(n.byAddr, a)
		}
	}
	b := n.fresh(addr)
	n.byAddr[addr] = b
	return b
}

func (n *nodes) anyOpen() bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	for _, b := range n.byAddr {
		if b.isOpen() {
			return true
		}
	}
	return n.lost.isOpen()
}

// at gives the breaker of the server that has key.
func (s *Store) at(ctx context.Context, key string) *breaker {
	if s.nodes == nil {
		return s.only
	}
	return s.nodes.of(ctx, key)
}

// LaneSilent tells the store that the server which has a lane answers nobody who listens to it, for the reason why: its
// calls fail at once, as after BreakerFailures outages, unless one was answered less than span ago.
func (s *Store) LaneSilent(index int, why error, span time.Duration) {
	if s.lanes != nil {
		s.at(context.Background(), s.lanes[index].Stream).suspect(why, span)
	}
}

// LaneAnswered tells the store that the server which has a lane answers again.
func (s *Store) LaneAnswered(index int) {
	if s.lanes != nil {
		s.at(context.Background(), s.lanes[index].Stream).recover()
	}
}

// byNode gives the indexes of keys, those of each server together, in portions of at most one round trip.
func (s *Store) byNode(ctx context.Context, keys []string, part []int) (groups []portion) {
	if s.nodes == nil {
		s.chunks(len(part), func(from, to int) { groups = append(groups, portion{node: s.only, part: part[from:to]}) })
		return groups
	}
	at := make(map[*breaker]int)
	var whole []portion
	for _, i := range part {
		b := s.at(ctx, keys[i])
		g, ok := at[b]
		if !ok {
			g = len(whole)
			at[b] = g
			whole = append(whole, portion{node: b})
		}
		whole[g].part = append(whole[g].part, i)
	}
	for _, w := range whole {
		s.chunks(len(w.part), func(from, to int) { groups = append(groups, portion{node: w.node, part: w.part[from:to]}) })
	}
	return groups
}

// portion is what one round trip to one server carries of a batch.
type portion struct {
	node  *breaker
	part  []int
	round *round // of changes on a Cluster
}

// eachNode runs fn for every portion: those of a server one after the other, and servers at the same time, so that none
// waits for another. Once a portion has met an outage, the rest of its server's are failed with it instead of being sent.
func eachNode(portions []portion, send func(p portion) error, fail func(p portion, err error)) {
	var wg sync.WaitGroup
	for len(portions) > 0 {
		n := 1
		for n < len(portions) && portions[n].node == portions[0].node {
			n++
		}
		mine := portions[:n]
		portions = portions[n:]
		run := func() {
			var met error
			for _, p := range mine {
				if isOutage(met) {
					fail(p, met)
				} else {
					met = send(p)
				}
			}
		}
		if len(portions) == 0 {
			run() // the last, or the only one
		} else {
			wg.Go(run)
		}
	}
	wg.Wait()
}

// indexes are 0 to n-1.
func indexes(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}
