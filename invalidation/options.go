package invalidation

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/doppio-cache/doppio/internal/guard"
	"github.com/doppio-cache/doppio/internal/topology"
)

// Defaults of Options.
const (
	DefaultMaxStaleness = 2 * time.Second
	DefaultBackoff      = 5 * time.Second
)

// ErrLaneCount is passed to Handler.OnLost when the instances of a namespace do not agree on the
// number of its lanes.
var ErrLaneCount = errors.New("invalidation: another instance has another number of lanes for this namespace")

// ErrClient is passed to Handler.OnLost when the Redis client cannot be used: it is of an unknown
// type, its server is of another kind than the client is for, or its server is a replica.
var ErrClient = errors.New("invalidation: the Redis client cannot be used")

// clientError makes the error of an unusable client match ErrClient. It returns other errors
// unchanged.
func clientError(err error) error {
	var refused *topology.RefusedError
	var replica *topology.NotMasterError
	if errors.As(err, &refused) || errors.As(err, &replica) && replica.Never {
		return fmt.Errorf("%w: %w", ErrClient, err)
	}
	return err
}

// Options configure a [Receiver]. Handler must be set.
type Options struct {
	// Namespace names the lanes. Lane is the index of the lane to follow. Lanes is the number of
	// lanes of the namespace; it defaults to 1.
	Namespace   string
	Lane, Lanes int
	// Instance names the channel on which the receiver receives its own probes. Each instance of a
	// fleet has another one.
	Instance uint64
	// MaxStaleness is how long after a probe was sent local copies may be served, once its echo
	// came back. A subscription over which no echo comes back for that long is given up as
	// half-open. A probe, which is one script, is sent every quarter of it. Defaults to
	// DefaultMaxStaleness.
	MaxStaleness time.Duration
	// Backoff is the longest pause between two attempts to subscribe. The first pause is a fiftieth
	// of it. Defaults to DefaultBackoff.
	Backoff time.Duration
	// Handler receives what the receiver learns.
	Handler Handler
	// NewestID returns the newest id of the lane that the owner knows, from the reply to a change
	// of its own or from the Handler. A server whose lane lacks that id has lost a change that it
	// had acknowledged, even if no message of it ever arrived. NewestID must not block. Defaults to
	// the newest id that the receiver has delivered.
	NewestID func() uint64
	// NewestFloor returns the newest floor of all caches that the owner knows. A server that has
	// lost the history of the lane sets the floor of all caches where the new history begins,
	// unless it has a newer one. NewestFloor must not block. Defaults to none.
	NewestFloor func() uint64
	// Logger receives, at Debug, the error of each subscription and each probe that failed.
	// Defaults to a silent one.
	Logger *slog.Logger
	// Topology describes the client's servers. It is shared with the remote tier. Start makes one
	// if it is nil.
	Topology *topology.Topology
	// Panics counts and logs the panics of the Redis client's hooks and dialers. If it is nil, they
	// are not counted.
	Panics *guard.Panics
}

func (o Options) withDefaults() Options {
	if o.Lanes <= 0 {
		o.Lanes = 1
	}
	if o.MaxStaleness <= 0 {
		o.MaxStaleness = DefaultMaxStaleness
	}
	if o.Backoff <= 0 {
		o.Backoff = DefaultBackoff
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// minPause returns the pause after a subscription that lived. However short Backoff is, there is
// some pause.
func (o Options) minPause() time.Duration {
	return max(o.Backoff/50, min(o.Backoff, time.Millisecond))
}
