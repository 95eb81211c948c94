package coherence

import (
	"context"
	"errors"
	"maps"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/doppio-cache/doppio/invalidation"
	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/remote"
)

// laneState is what is known of one lane. Fields that are not atomic are guarded by Manager.mu.
type laneState struct {
	receiver *invalidation.Receiver // set by Listen
	until    int64                  // the end of the trust window, a reading of local.Monotonic
	// floors are the ids below which remote records are invalid: by cache name, allCaches for all.
	floors map[string]uint64
	// unnamed are the floors, by seed, of caches that this instance does not have; maxUnnamed at
	// most.
	unnamed map[uint64]uint64
	// later is the floor of every cache that this instance makes later: of those that unnamed and
	// floors had no room for.
	later   uint64
	refused error // the namespace has another number of lanes, or the client leads elsewhere
	state   invalidation.State
	// parted stands for the floor of all caches from when a loss of the lane's history was noticed
	// until Redis has said where the new history begins: one above the newest id that was known of
	// the lost one. Else it is 0.
	parted   uint64
	last     monotonicID // the newest id known
	allFloor monotonicID // the newest floor of all caches that is known, of a lost history too

	floorsAt atomic.Int64 // reading of local.Monotonic: floors raised before it are known
}

// allCaches is the field of a lane's floors that stands for all caches.
const allCaches = "*"

// NewestFloor is the field of a lane's floors that holds the newest of all. No cache has that name.
const NewestFloor = "!"

const (
	// maxUnnamed bounds the floors that a lane keeps, by seed, for caches which this instance does
	// not have. Messages name caches by a hash: a forger could name as many as there are hashes.
	// Past the bound one floor stands for all of them.
	maxUnnamed = 4096
	// maxFloors bounds the floors that a lane keeps by name. Redis keeps as many. The names that
	// come and go there meanwhile would grow without end here.
	maxFloors = 16_384
)

// keepUnnamed keeps the floor of a cache that this instance does not have.
func (l *laneState) keepUnnamed(seed, id uint64) {
	if _, ok := l.unnamed[seed]; !ok && len(l.unnamed) >= maxUnnamed {
		for _, floor := range l.unnamed {
			l.later = max(l.later, floor)
		}
		clear(l.unnamed)
	}
	l.unnamed[seed] = max(l.unnamed[seed], id)
}

// floorOf is the floor of a cache.
func (l *laneState) floorOf(name string) uint64 {
	return max(l.floors[allCaches], l.floors[name], l.parted)
}

// applyFloorsLocked makes a lane's floors those of the caches' remote records.
func (m *Manager) applyFloorsLocked(index int) (raised bool) {
	l := &m.lanes[index]
	for _, c := range m.caches {
		floor := l.floorOf(c.name)
		raised = raised || floor > c.minIDs[index].Load()
		c.minIDs[index].Store(floor)
	}
	return raised
}

// raiseFloor invalidates one cache, as far as its keys belong to a lane: in both tiers. The floor
// of remote records comes first: a read that saw them under the old one began before the local
// minimum.
func (m *Manager) raiseFloor(index int, seed, id uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, c := &m.lanes[index], m.caches[seed]
	if c == nil {
		l.keepUnnamed(seed, id)
		return
	}
	l.floors[c.name] = max(l.floors[c.name], id)
	c.minIDs[index].Store(l.floorOf(c.name))
	c.invalidateAllOfLocked()
}

// raiseAllFloors invalidates everything that belongs to a lane.
func (m *Manager) raiseAllFloors(index int, id uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.raiseAllFloorsLocked(index, id)
}

func (m *Manager) raiseAllFloorsLocked(index int, id uint64) {
	l := &m.lanes[index]
	l.allFloor.raise(id)
	l.floors[allCaches] = max(l.floors[allCaches], id)
	m.applyFloorsLocked(index)
	m.invalidateAllLocked()
}

// partLane notes that a lane has lost its history, of which ended is the newest id that was known.
// Redis may hold again what was invalidated since: no remote record of up to there is read any
// more, whatever becomes of the floor that says so to other instances. What the new history has
// acknowledged lies above. The newest known id stays known: it tells Redis that changes of this
// instance come after the loss.
func (m *Manager) partLane(index int, ended uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := &m.lanes[index]
	before := l.allFloor.Load()
	maps.DeleteFunc(l.floors, func(_ string, id uint64) bool { return id <= ended })
	maps.DeleteFunc(l.unnamed, func(_, id uint64) bool { return id <= ended })
	if l.later <= ended {
		l.later = 0
	}
	l.parted = 0
	if l.floors[allCaches] <= ended { // else the message that begins the new history has brought its floor
		l.parted = ended + 1
		m.retries.part(index, ended, before)
	}
	m.applyFloorsLocked(index)
}

// partedAt notes the floor that lies where the histories of a lane part, of which the lost one was
// known up to ended. From now on nothing up to there matters, not even as the newest known id:
// where it is above the floor, Redis has not believed it, or the new history had begun without it.
func (m *Manager) partedAt(index int, ended, floor uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := &m.lanes[index]
	if l.parted <= ended+1 { // no later loss was noticed meanwhile
		l.parted = 0
	}
	l.last.replace(ended, floor)
	m.raiseAllFloorsLocked(index, floor)
}

// refreshFloors makes sure that a remote read of these lanes which begins now takes into account
// what was cleared long enough ago: the floors come with the probes as long as local copies are
// trusted, and are read when they are not. One read serves all calls that wait, each as long as its
// own context allows.
func (m *Manager) refreshFloors(ctx context.Context, indexes ...int) error {
	if m.Trusted() {
		return nil
	}
	for _, index := range indexes {
		if m.lanes[index].floorsKnown(m.opts.MaxStaleness) {
			continue
		}
		asked := m.asking.DoChan(strconv.Itoa(index), func() (any, error) { return nil, m.readFloors(context.WithoutCancel(ctx), index) })
		select {
		case r := <-asked:
			if r.Err != nil && !m.mayGoOn(index, r.Err) {
				return r.Err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// mayGoOn reports whether a lane's floors, which could not be read, are known well enough. On a
// Cluster the lane may lie on another node than what is read: where that node is down, no instance
// can raise a floor on it, and the floors known are those of its last answer.
func (m *Manager) mayGoOn(index int, err error) bool {
	return errors.Is(err, remote.ErrUnavailable) && !m.remote.Atomic() && m.lanes[index].floorsAt.Load() != Never
}

func (l *laneState) floorsKnown(bound time.Duration) bool {
	return local.Monotonic() < local.After(l.floorsAt.Load(), bound/4)
}

func (m *Manager) readFloors(ctx context.Context, index int) error {
	l := &m.lanes[index]
	if l.floorsKnown(m.opts.MaxStaleness) {
		return nil // another call has read them just now
	}
	began := local.Monotonic()
	if err := m.fetchFloors(ctx, index); err != nil {
		return err
	}
	l.floorsAt.Store(began)
	return nil
}

// fetchFloors reads a lane's floors from Redis.
func (m *Manager) fetchFloors(ctx context.Context, index int) error {
	floors, err := m.remote.Floors(ctx, index)
	if err != nil {
		return err
	}
	m.learnFloors(index, floors)
	return nil
}

// AllLanes are the indexes of all lanes.
func (m *Manager) AllLanes() []int {
	all := make([]int, len(m.lanes))
	for i := range all {
		all[i] = i
	}
	return all
}

// learnFloors takes a lane's floors as Redis has them.
func (m *Manager) learnFloors(index int, floors map[string]uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if floors == nil {
		return
	}
	l := &m.lanes[index]
	for name, id := range floors {
		if name == allCaches {
			l.allFloor.raise(id)
			if id >= l.parted {
				l.parted = 0
			}
		}
		l.floors[name] = max(l.floors[name], id) // what was read may be older than what a message said meanwhile
		m.reached(index, id)                     // what is loaded from now on is newer
	}
	m.boundFloorsLocked(l)
	// What was read from the remote tier since the floor was raised, and before it was known here,
	// must not be served.
	if m.applyFloorsLocked(index) {
		m.invalidateAllLocked()
	}
}

// boundFloorsLocked keeps a lane's floors to those of this instance's caches where there are too
// many: a cache that it makes later begins with the highest floor of the others.
func (m *Manager) boundFloorsLocked(l *laneState) {
	if len(l.floors) <= maxFloors {
		return
	}
	named := map[string]bool{allCaches: true}
	for _, c := range m.caches {
		named[c.name] = true
	}
	for name, id := range l.floors {
		if !named[name] {
			l.later = max(l.later, id)
			delete(l.floors, name)
		}
	}
}

// CheckLanes returns an error where changes must not be announced: on another number of lanes other
// instances would not hear them. It asks once, if no subscription has done so.
func (m *Manager) CheckLanes(ctx context.Context) error {
	if m.agreed.Load() {
		return nil
	}
	err := m.remote.CheckLanes(ctx)
	if fault := (*remote.OptionError)(nil); errors.As(err, &fault) && fault.Field == "Lanes" {
		return lanesFault(errors.New(fault.Reason))
	}
	if err == nil {
		// What is stored now must not lie below a floor that this instance has not heard of yet.
		err = m.refreshFloors(ctx, m.AllLanes()...)
	}
	if err == nil {
		m.agreed.Store(true)
	}
	return err
}

func lanesFault(err error) error {
	return &remote.OptionError{Field: "Lanes", Reason: "is not what the namespace has: " + err.Error()}
}

// monotonicID is an id of a lane that only rises, as long as the lane keeps its history.
type monotonicID struct{ v atomic.Uint64 }

// Load returns the id.
func (id *monotonicID) Load() uint64 { return id.v.Load() }

func (id *monotonicID) raise(to uint64) {
	for old := id.v.Load(); old < to && !id.v.CompareAndSwap(old, to); old = id.v.Load() {
	}
}

// replace puts another id in the place of one that is not above ended.
func (id *monotonicID) replace(ended, by uint64) {
	for old := id.v.Load(); old <= ended && !id.v.CompareAndSwap(old, by); old = id.v.Load() {
	}
}
