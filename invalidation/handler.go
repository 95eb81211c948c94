package invalidation

import (
	"strconv"
	"time"
)

// Handler is told what a Receiver learns, one call at a time per receiver. It must not block.
//
// Whatever a Trusted covers has been told before it, by Invalidated or Dropped, and so has what Learned tells.
type Handler interface {
	// Invalidated: a message arrived, over the subscription or by replay. The same message may come twice.
	Invalidated(lane int, m Message)
	// Dropped: some messages are not known, so that no local copy of before may be served. For HistoryLost, ended is the
	// newest id that is known of the lost history; else it is 0. What that history has left in the server has an id of at
	// most ended, and changes that were acknowledged since have higher ones, where the server's clock did not go back.
	Dropped(lane int, why Reason, ended uint64)
	// Learned: the server has messages up to last, and these floors, ids by the name of their cache, "*" for all caches;
	// nil: the floors are as they were told before. It is told while there is no subscription, too. last is never lower
	// than before, except right after Dropped(HistoryLost); after that, the floors are told anew before anything is trusted.
	Learned(lane int, last uint64, floors map[string]uint64)
	// Trusted: what was published before sent is known: near entries may be served until sent + Options.MaxStaleness.
	Trusted(lane int, sent time.Time)
	// Lost: the subscription ended or went silent, or could not be made. Nothing is trusted longer than it was; what is
	// missed meanwhile is replayed later, or Dropped is told.
	Lost(lane int, err error)
	// Changed: the receiver came into another state.
	Changed(c Change)
}

// Watcher is a Handler that wants to know whether the server of a lane answers at all. It must not block.
type Watcher interface {
	// Silent: the server refuses connections (err matches syscall.ECONNREFUSED), or has answered no echo for half of
	// Options.MaxStaleness. It is told again while that lasts.
	Silent(lane int, err error)
	// Answered: it answers again. It is told once.
	Answered(lane int)
}

// Reason says why messages are not known.
type Reason uint8

// The reasons.
const (
	FirstSync   Reason = iota + 1 // the receiver has only begun
	Gap                           // a message shows that those before it were lost
	TailLost                      // an echo shows that the newest messages were lost
	Trimmed                       // the lane no longer holds what was missed
	HistoryLost                   // the lane is not the one it was: a failover or a restart lost messages, or somebody deleted it
	Unreadable                    // something arrived that is no message of this version
)

// String names the reason.
func (r Reason) String() string {
	switch r {
	case FirstSync:
		return "first-sync"
	case Gap:
		return "gap"
	case TailLost:
		return "tail-lost"
	case Trimmed:
		return "trimmed"
	case HistoryLost:
		return "history-lost"
	case Unreadable:
		return "unreadable"
	default:
		return "reason " + strconv.Itoa(int(r))
	}
}

// State is what a Receiver is up to.
type State uint8

// The states: Init → Sync → Live ⇄ Sync, and from Sync and Live → Suspect → Sync.
const (
	Init    State = iota // no subscription has ever been confirmed
	Sync                 // there is a subscription; what was missed before it is being found out
	Live                 // messages arrive without a gap, and echoes come back
	Suspect              // the subscription was lost or went silent
)

// String names the state.
func (s State) String() string {
	switch s {
	case Init:
		return "init"
	case Sync:
		return "sync"
	case Live:
		return "live"
	case Suspect:
		return "suspect"
	default:
		return "state " + strconv.Itoa(int(s))
	}
}

// Change is a transition of a Receiver from one state to another.
type Change struct {
	Lane     int
	From, To State
	Reason   string
	Err      error // what ended the subscription, if that is the reason
	At       time.Time
}
