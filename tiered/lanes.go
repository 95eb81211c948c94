package tiered

import (
	"context"
	"errors"
	"maps"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/doppio-cache/doppio/invalidation"
	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/remote"
)

// laneState is what is known of one lane. All but last is guarded by coherence.mu.
type laneState struct {
	receiver *invalidation.Receiver
	until    int64             // the end of the coherence lease, a reading of local.Monotonic
	floors   map[string]uint64 // ids below which far records are invalid: by cache name, allCaches for all
	unnamed  map[uint64]uint64 // the same by seed, of caches that this instance did not have when it heard of it; maxUnnamed at most
	later    uint64            // the same for every cache that this instance makes later: what unnamed had no room for
	refused  error             // why this lane will not do: the namespace has another number of lanes, or the client leads elsewhere
	state    invalidation.State
	// parted stands for the floor of all caches from when a loss of the lane's history was noticed
	// until Redis has said where the new history begins: one above the newest id that was known of
	// the lost one. Else it is 0.
	parted   uint64
	last     monotonicID // the newest id known
	allFloor monotonicID // the newest floor of all caches that is known, of a lost history too

	floorsAt atomic.Int64 // reading of local.Monotonic: floors raised before it are known
}

// maxUnnamed bounds the floors that a lane keeps for caches which this instance does not have. Messages name caches by a hash, so
// that whoever may publish could name as many as there are hashes. Past the bound one floor stands for all of them.
const maxUnnamed = 4096

// noteUnnamed keeps the floor of a cache that this instance does not have.
func (l *laneState) noteUnnamed(seed, id uint64) {
	if _, ok := l.unnamed[seed]; !ok && len(l.unnamed) >= maxUnnamed {
		for _, floor := range l.unnamed {
			l.later = max(l.later, floor)
		}
		clear(l.unnamed)
	}
	l.unnamed[seed] = max(l.unnamed[seed], id)
}

// allCaches is the field of a lane's floors that stands for all caches.
const allCaches = "*"

// newestFloor is the field of a lane's floors that holds the newest of all.
const newestFloor = "!"

// floorOf is the far floor of a cache.
func (l *laneState) floorOf(name string) uint64 {
	return max(l.floors[allCaches], l.floors[name], l.parted)
}

// dropReasons is how many reasons there are to drop the near tier.
const dropReasons = int(invalidation.DropUnreadable) + 1

// coherence implements invalidation.Handler. Of one lane it is told one thing at a time, of several at the same time.
var _ invalidation.Handler = (*coherence)(nil)

// OnMessage implements invalidation.Handler.
func (c *coherence) OnMessage(index int, m invalidation.Message) {
	if m.Type == invalidation.TypeFilled {
		c.waiters.wake(m.Hashes)
		return
	}
	defer c.received.Add(1) // when it has taken effect
	c.reached(index, m.ID)
	if c.own.mine(m.Publisher) {
		if c.own.hear(m.Publisher) {
			return
		}
		c.pending.happened(m.Publisher)
	}
	switch m.Type {
	case invalidation.TypeKeys:
		c.table.Raise(m.Hashes...)
		c.waiters.wake(m.Hashes)
	case invalidation.TypeCaches:
		for _, seed := range m.Hashes {
			c.raiseScope(seed)
		}
	case invalidation.TypeCleared:
		for _, seed := range m.Hashes {
			c.cleared(index, seed, m.ID)
		}
	default:
		c.flushed(index, m.ID)
	}
}

// reached notes that a lane has come as far as id.
func (c *coherence) reached(index int, id uint64) {
	c.lanes[index].last.raise(id)
	c.far.Seen(id)
}

// cleared invalidates one cache, as far as its keys belong to this lane: near and far. The far floor comes first: what
// is read from the far tier under the old one began before the near floor.
func (c *coherence) cleared(index int, seed, id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := &c.lanes[index]
	f := c.caches[seed]
	if f == nil {
		l.noteUnnamed(seed, id)
		return
	}
	l.floors[f.name] = max(l.floors[f.name], id)
	f.far[index].Store(l.floorOf(f.name))
	c.raiseScopeLocked(f)
}

// flushed invalidates everything that belongs to a lane.
func (c *coherence) flushed(index int, id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flushedLocked(index, id)
}

func (c *coherence) flushedLocked(index int, id uint64) {
	l := &c.lanes[index]
	l.allFloor.raise(id)
	l.floors[allCaches] = max(l.floors[allCaches], id)
	for _, f := range c.caches {
		f.far[index].Store(l.floorOf(f.name))
	}
	c.raiseAllLocked()
}

// OnDrop implements invalidation.Handler.
func (c *coherence) OnDrop(index int, why invalidation.DropReason, ended uint64) {
	c.drops[why].Add(1)
	if why == invalidation.DropHistoryLost {
		c.restarted(index, ended)
	}
	c.raiseAll()
	if why != invalidation.DropFirstSync {
		c.log.Warn("doppio: dropped the near tier", "lane", index, "reason", why.String())
	}
}

// restarted notes that a lane has lost its history, of which ended is the newest id that was known.
// Redis may hold again what was invalidated since: no remote record of up to there is read any
// more, whatever becomes of the floor that says so to other instances. What the new history has
// acknowledged lies above. The newest known id stays known: it tells Redis that changes of this
// instance come after the loss.
func (c *coherence) restarted(index int, ended uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := &c.lanes[index]
	before := l.allFloor.Load()
	maps.DeleteFunc(l.floors, func(_ string, id uint64) bool { return id <= ended })
	maps.DeleteFunc(l.unnamed, func(_, id uint64) bool { return id <= ended })
	if l.later <= ended {
		l.later = 0
	}
	l.parted = 0
	if l.floors[allCaches] <= ended { // else the message that begins the new history has brought its floor
		l.parted = ended + 1
		c.pending.part(index, ended, before)
	}
	for _, f := range c.caches {
		f.far[index].Store(l.floorOf(f.name))
	}
}

// partedAt notes the floor that lies where the histories of a lane part, of which the lost one was
// known up to ended. From now on nothing up to there matters, not even as the newest known id:
// where it is above the floor, Redis has not believed it, or the new history had begun without it.
func (c *coherence) partedAt(index int, ended, floor uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := &c.lanes[index]
	if l.parted <= ended+1 { // no later loss was noticed meanwhile
		l.parted = 0
	}
	l.last.replace(ended, floor)
	c.flushedLocked(index, floor)
}

// OnFloors implements invalidation.Handler.
func (c *coherence) OnFloors(index int, last uint64, floors map[string]uint64) {
	c.reached(index, last)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.learnFloorsLocked(&c.lanes[index], index, floors)
}

// freshFloors makes sure that a far read of these lanes which begins now heeds what was cleared long enough ago: the echo
// brings the floors as long as the near tier is trusted, and they are asked for when it is not. One asks for all who wait,
// each as long as its own context allows.
func (c *coherence) freshFloors(ctx context.Context, indexes ...int) error {
	if local.Monotonic() < c.liveUntil.Load() {
		return nil
	}
	for _, index := range indexes {
		if c.lanes[index].floorsKnown(c.bound) {
			continue
		}
		asked := c.asking.DoChan(strconv.Itoa(index), func() (any, error) { return nil, c.askFloors(context.WithoutCancel(ctx), index) })
		select {
		case r := <-asked:
			if r.Err != nil && !c.doWithout(index, r.Err) {
				return r.Err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// doWithout tells whether a lane's floors, which could not be asked for, are known well enough. On a Cluster the lane may
// lie on another node than what is read: where that node is down, nobody can raise a floor on it, and the floors known
// are those of its last answer.
func (c *coherence) doWithout(index int, err error) bool {
	return errors.Is(err, ErrRemoteUnavailable) && !c.far.OneStep() && c.lanes[index].floorsAt.Load() != neverLive
}

func (l *laneState) floorsKnown(bound time.Duration) bool {
	return local.Monotonic() < after(l.floorsAt.Load(), bound/4)
}

func (c *coherence) askFloors(ctx context.Context, index int) error {
	l := &c.lanes[index]
	if l.floorsKnown(c.bound) {
		return nil // somebody else has asked just now
	}
	began := local.Monotonic()
	floors, err := c.far.Floors(ctx, index)
	if err != nil {
		return err
	}
	c.learnFloors(index, floors)
	l.floorsAt.Store(began)
	return nil
}

// allLanes are the indexes of all lanes.
func (c *coherence) allLanes() []int {
	all := make([]int, len(c.lanes))
	for i := range all {
		all[i] = i
	}
	return all
}

// learnFloors takes a lane's floors as they were read from Redis.
func (c *coherence) learnFloors(index int, floors map[string]uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.learnFloorsLocked(&c.lanes[index], index, floors)
}

func (c *coherence) learnFloorsLocked(l *laneState, index int, floors map[string]uint64) {
	if floors == nil {
		return
	}
	for name, id := range floors {
		if name == allCaches {
			l.allFloor.raise(id)
			if id >= l.parted {
				l.parted = 0
			}
		}
		l.floors[name] = max(l.floors[name], id) // what was read may be older than what a message said meanwhile
		c.reached(index, id)                     // what is loaded from now on is newer
	}
	c.boundFloors(l)
	raised := false
	for _, f := range c.caches {
		floor := l.floorOf(f.name)
		raised = raised || floor > f.far[index].Load()
		f.far[index].Store(floor)
	}
	// What was read from the far tier since the floor was raised, and before it was known here, must not be served.
	if raised {
		c.raiseAllLocked()
	}
}

// OnTrust implements invalidation.Handler.
func (c *coherence) OnTrust(index int, sent time.Time) {
	at := local.Monotonic() - int64(time.Since(sent))
	c.mu.Lock()
	defer c.mu.Unlock()
	l := &c.lanes[index]
	l.until, l.refused = max(l.until, after(at, c.bound)), nil
	if index == 0 {
		c.agreed.Store(true) // the first lane is there for everybody; on others an instance may be alone with its idea
	}
	l.floorsAt.Store(max(l.floorsAt.Load(), at))
	c.extendLocked()
	if local.Monotonic() < c.liveUntil.Load() {
		c.wakeReady()
	}
}

// extendLocked sets liveUntil to the earliest end of a lease.
func (c *coherence) extendLocked() {
	live := c.lanes[0].until
	for i := range c.lanes {
		live = min(live, c.lanes[i].until)
	}
	c.liveUntil.Store(live)
}

// OnLost implements invalidation.Handler. Nothing is dropped: if the lane can be replayed, nothing was missed.
func (c *coherence) OnLost(index int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := &c.lanes[index]
	l.until = min(l.until, local.Monotonic())
	c.extendLocked()
	switch {
	case errors.Is(err, invalidation.ErrLaneCount):
		l.refused = lanesFault(err)
		c.agreed.Store(false)
		c.wakeReady()
	case errors.Is(err, invalidation.ErrClient):
		l.refused = &OptionError{Field: "rdb", Reason: err.Error()}
		c.wakeReady()
	}
	if l.state == invalidation.StateLive {
		// One loss, however often the attempts to subscribe again fail.
		c.lost.Add(1)
		c.log.Warn("doppio: subscription to invalidations lost", "lane", index, "error", err)
		return
	}
	c.refused.Add(1)
	c.log.Debug("doppio: no subscription to invalidations yet", "lane", index, "error", err)
}

func lanesFault(err error) error {
	return &OptionError{Field: "Lanes", Reason: "is not what the namespace has: " + err.Error()}
}

// lanesAgree tells whether changes may be announced: on another number of lanes others would not hear them. It asks once, if
// no subscription has done so.
func (c *Client) lanesAgree(ctx context.Context) error {
	if c.co.agreed.Load() {
		return nil
	}
	err := c.far.CheckLanes(ctx)
	if fault := (*remote.OptionError)(nil); errors.As(err, &fault) && fault.Field == "Lanes" {
		return lanesFault(errors.New(fault.Reason))
	}
	if err == nil {
		// What is stored now must not lie below a floor that this instance has not heard of yet.
		err = c.co.freshFloors(ctx, c.co.allLanes()...)
	}
	if err == nil {
		c.co.agreed.Store(true)
	}
	return err
}

// refusedLocked tells why the namespace cannot be used, if so.
func (c *coherence) refusedLocked() error {
	for i := range c.lanes {
		if err := c.lanes[i].refused; err != nil {
			return err
		}
	}
	return nil
}

// OnSilence implements invalidation.ServerWatcher: what the receiver knows spares callers the wait for a server that does not
// answer.
func (c *coherence) OnSilence(index int, err error) {
	answered := c.bound / 4 // a call that was answered since says more than an echo that was not
	if errors.Is(err, syscall.ECONNREFUSED) {
		answered = 0
	}
	c.far.LaneSilent(index, err, answered)
}

// OnAnswer implements invalidation.ServerWatcher.
func (c *coherence) OnAnswer(index int) { c.far.LaneAnswered(index) }

// OnState implements invalidation.Handler.
func (c *coherence) OnState(ch invalidation.StateChange) {
	c.mu.Lock()
	c.lanes[ch.Lane].state = ch.To
	c.mu.Unlock()
	if ch.To == invalidation.StateLive {
		c.synced.Add(1)
		c.pending.retryNow() // Redis is there again
		c.log.Info("doppio: the near tier is coherent", "lane", ch.Lane, "reason", ch.Reason)
	}
	c.notices.tell(ch)
}

// monotonicID is an id of a lane that only rises, as long as the lane keeps its history.
type monotonicID struct{ v atomic.Uint64 }

// Load gives the id.
func (m *monotonicID) Load() uint64 { return m.v.Load() }

func (m *monotonicID) raise(id uint64) {
	for old := m.v.Load(); old < id && !m.v.CompareAndSwap(old, id); old = m.v.Load() {
	}
}

// replace puts id in the place of one that is not above ended.
func (m *monotonicID) replace(ended, id uint64) {
	for old := m.v.Load(); old <= ended && !m.v.CompareAndSwap(old, id); old = m.v.Load() {
	}
}
