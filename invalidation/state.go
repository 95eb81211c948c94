package invalidation

import (
	"strconv"
	"time"
)

// State is the state of a [Receiver].
type State uint8

// The states: Init → Syncing → Live ⇄ Syncing, and from Syncing and Live → Suspect → Syncing.
const (
	StateInit    State = iota // no subscription has ever been confirmed
	StateSyncing              // there is a subscription; the messages before it are being replayed
	StateLive                 // messages arrive without a gap, and probes come back
	StateSuspect              // the subscription was lost or went silent
)

// String returns the name of the state, as it is logged.
func (s State) String() string {
	switch s {
	case StateInit:
		return "init"
	case StateSyncing:
		return "sync"
	case StateLive:
		return "live"
	case StateSuspect:
		return "suspect"
	default:
		return "state " + strconv.Itoa(int(s))
	}
}

// StateChange is a transition of a [Receiver] from one state to another.
type StateChange struct {
	Lane     int
	From, To State
	Reason   string
	Err      error // the error that ended the subscription, if that is the reason
	At       time.Time
}
