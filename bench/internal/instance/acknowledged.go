package instance

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// acknowledged are the acknowledgements of all changes, by key: once of everybody, and once of each instance.
type acknowledged map[changesOf]*history

// everybody is no instance's number.
const everybody = -1

type changesOf struct {
	slot     uint32
	instance int
}

// history is when versions of a key were acknowledged.
type history struct {
	acks   []ack
	sorted bool
}

// ack is a version and when it was acknowledged; once the history is sorted, when it or any later version first was, since
// acknowledgements come in any order.
type ack struct {
	version uint64
	at      int64
}

func (k acknowledged) add(e Entry, instance int) {
	for _, whose := range []int{everybody, instance} {
		h := k[changesOf{e.Slot, whose}]
		if h == nil {
			h = &history{}
			k[changesOf{e.Slot, whose}] = h
		}
		h.acks, h.sorted = append(h.acks, ack{e.Version, e.At}), false
	}
}

// firstAfter is when a version after this one was first acknowledged.
func (h *history) firstAfter(version uint64) (at int64, found bool) {
	if h == nil {
		return 0, false
	}
	if !h.sorted {
		slices.SortFunc(h.acks, func(a, b ack) int { return cmp.Compare(a.version, b.version) })
		first := int64(math.MaxInt64)
		for i, a := range slices.Backward(h.acks) {
			first = min(first, a.at)
			h.acks[i].at = first
		}
		h.sorted = true
	}
	i, _ := slices.BinarySearchFunc(h.acks, version, func(a ack, v uint64) int {
		if a.version <= v {
			return -1
		}
		return 1
	})
	if i == len(h.acks) {
		return 0, false
	}
	return h.acks[i].at, true
}

// trail tells how long before a stale read began the first invalidation that it missed was acknowledged, and whether it
// missed one of its own instance. That it is stale is settled, by the order of what happened in shared memory: times,
// which two processes may read a little differently, only tell by how much.
func (k acknowledged) trail(read Entry, instance int) (age time.Duration, own bool, err error) {
	first, found := k[changesOf{read.Slot, everybody}].firstAfter(read.Version)
	if !found {
		return 0, false, fmt.Errorf("instance: a stale read of version %d of slot %d, but no newer one is logged", read.Version, read.Slot)
	}
	mine, found := k[changesOf{read.Slot, instance}].firstAfter(read.Version)
	own = found && mine <= read.At // one process: the times are exact
	return time.Duration(max(0, read.At-first)), own, nil
}
