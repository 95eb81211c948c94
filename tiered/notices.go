package tiered

import (
	"sync/atomic"

	"github.com/doppio-cache/doppio/invalidation"
)

// State is what a subscription to invalidations is up to.
type State = invalidation.State

// The states. Init comes first; from Sync a subscription becomes Live, in which state local hits are served, and from
// Live it becomes Suspect, when something about it is not as it should be, until it is in Sync again.
const (
	StateInit    = invalidation.StateInit
	StateSyncing = invalidation.StateSyncing
	StateLive    = invalidation.StateLive
	StateSuspect = invalidation.StateSuspect
)

// StateChange is one transition of the subscription to one lane, and its reason.
type StateChange = invalidation.StateChange

// maxNotices is how many transitions wait for a slow OnStateChange.
const maxNotices = 256

// notices brings transitions to a user's function, which may block: the receiver does not wait for it.
type notices struct {
	waiting chan StateChange
	dropped atomic.Uint64
}

func newNotices() *notices { return &notices{waiting: make(chan StateChange, maxNotices)} }

func (n *notices) tell(ch StateChange) {
	select {
	case n.waiting <- ch:
	default:
		n.dropped.Add(1)
	}
}

// run hands out transitions until done is closed, those that still wait then included.
func (n *notices) run(done <-chan struct{}, tell func(StateChange)) {
	for {
		select {
		case ch := <-n.waiting:
			tell(ch)
		case <-done:
			for {
				select {
				case ch := <-n.waiting:
					tell(ch)
				default:
					return
				}
			}
		}
	}
}
