package instance

import (
	"errors"
	"fmt"
	"time"
)

// Logs are the paths of the two logs of one instance.
type Logs struct {
	Acks  string // of the invalidations that were acknowledged to it
	Stale string // of its stale reads
}

// Open creates both.
func (l Logs) Open() (acks, stale *Log, err error) {
	if acks, err = CreateLog(l.Acks); err != nil {
		return nil, nil, err
	}
	if stale, err = CreateLog(l.Stale); err != nil {
		return nil, nil, errors.Join(err, acks.Close())
	}
	return acks, stale, nil
}

// StaleRead is a stale read that was judged.
type StaleRead struct {
	Entry
	Age time.Duration // from the acknowledgement of the first invalidation that it missed to its beginning
	Own bool          // it missed one of its own instance
}

type acknowledgement struct {
	Entry
	instance int
}

// Judge reads the logs of all instances and calls each for each stale read.
func Judge(logs []Logs, each func(StaleRead)) error {
	bySlot := map[uint32][]acknowledgement{}
	for instance, l := range logs {
		err := ReadLog(l.Acks, func(e Entry) error {
			bySlot[e.Slot] = append(bySlot[e.Slot], acknowledgement{e, instance})
			return nil
		})
		if err != nil {
			return err
		}
	}
	for instance, l := range logs {
		err := ReadLog(l.Stale, func(read Entry) error {
			age, own, err := trail(read, instance, bySlot[read.Slot])
			if err == nil {
				each(StaleRead{read, age, own})
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// trail tells how long before a stale read began the first invalidation that it missed was acknowledged, and whether it
// missed one of its own instance. That it is stale is settled, by the order of what happened in shared memory: times,
// which two processes may read a little differently, only tell by how much.
func trail(read Entry, instance int, acks []acknowledgement) (age time.Duration, own bool, err error) {
	first, found := int64(0), false
	for _, a := range acks {
		if a.Version <= read.Version {
			continue
		}
		own = own || a.instance == instance && a.At <= read.At // one process: the times are exact
		if !found || a.At < first {
			first, found = a.At, true
		}
	}
	if !found {
		return 0, false, fmt.Errorf("instance: a stale read of version %d of slot %d, but no newer one is logged", read.Version, read.Slot)
	}
	return time.Duration(max(0, read.At-first)), own, nil
}
