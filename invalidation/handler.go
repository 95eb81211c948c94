package invalidation

import (
	"strconv"
	"time"
)

// Handler receives what a [Receiver] learns about its lane. A receiver makes one call at a time. No
// method may block: the receiver reads no message meanwhile. No method is called after
// [Receiver.Close] has returned.
//
// OnTrust is called after the calls of OnMessage, OnDrop and OnFloors on which it rests. A handler
// that applies each call before it returns may therefore rely on OnTrust as it is.
type Handler interface {
	// OnMessage is called for each message, whether it came over the subscription or was replayed.
	// The same message may come twice.
	OnMessage(lane int, m Message)
	// OnDrop is called when messages are missing. No local copy that is older than the call may be
	// served after it. For DropHistoryLost, historyEnd is the newest id that is known of the lost
	// history: every record that the lost history has left in the server has an id of at most
	// historyEnd, and every change that was acknowledged since has a higher id, unless the server's
	// clock was set back. For every other reason historyEnd is 0.
	OnDrop(lane int, why DropReason, historyEnd uint64)
	// OnFloors is called with the newest id of the lane and with the floors of the server: ids by
	// the name of a cache, or by "*" for all caches. A nil map means that the floors have not
	// changed. It is called while there is no subscription, too. The newest id never falls, except
	// right after OnDrop with DropHistoryLost; OnTrust is not called after that before the floors
	// of the new history were given.
	OnFloors(lane int, newest uint64, floors map[string]uint64)
	// OnTrust is called when every message that was published before sent has been handled. Local
	// copies may be served until sent + Options.MaxStaleness.
	OnTrust(lane int, sent time.Time)
	// OnLost is called when the subscription ended, went silent, or could not be made. Trust that
	// was given lasts as long as it would have. The receiver subscribes again, and replays the
	// messages that were missed or calls OnDrop.
	OnLost(lane int, err error)
	// OnState is called when the state of the receiver has changed.
	OnState(c StateChange)
}

// ServerWatcher is implemented by a [Handler] that wants to know whether the server of a lane
// answers at all. Its methods are called as those of the Handler are.
type ServerWatcher interface {
	// OnSilence is called when the server refuses connections (err matches syscall.ECONNREFUSED),
	// or has answered no probe for half of Options.MaxStaleness. It is called again while that
	// lasts.
	OnSilence(lane int, err error)
	// OnAnswer is called once when the server answers again.
	OnAnswer(lane int)
}

// DropReason says why messages are missing.
type DropReason uint8

// The reasons for which a receiver calls Handler.OnDrop.
const (
	DropFirstSync   DropReason = iota + 1 // the receiver has only begun
	DropGap                               // a message shows that messages before it were lost
	DropTailLost                          // a probe shows that the newest messages were lost
	DropTrimmed                           // the lane no longer holds the messages that were missed
	DropHistoryLost                       // a failover or a restart lost messages, or the lane was deleted
	DropUnreadable                        // a message is not of this version
)

// String returns the name of the reason, as it is logged.
func (r DropReason) String() string {
	switch r {
	case DropFirstSync:
		return "first-sync"
	case DropGap:
		return "gap"
	case DropTailLost:
		return "tail-lost"
	case DropTrimmed:
		return "trimmed"
	case DropHistoryLost:
		return "history-lost"
	case DropUnreadable:
		return "unreadable"
	default:
		return "reason " + strconv.Itoa(int(r))
	}
}
