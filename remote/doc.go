// Package remote is the far tier: records in Redis or Valkey, over any go-redis v9 client.
//
// It stores bytes it does not understand inside records that say what they are: a value, a lease taken by
// somebody who is loading it, or the knowledge that there is no such thing. Every change is one script.
//
// # Announcements
//
// A change is announced in a lane: a Redis stream, whose entries are published with their place in it, so that who
// listens knows what it has missed. On one server (standalone or Sentinel) a change and its announcement are one script,
// and a change that cannot be announced is not made. On a Cluster, where key and lane lie on different nodes, the change
// comes first; if the announcement then fails, the error matches ErrUnknownOutcome.
//
// A lane also keeps remote floors: ids of the lane below which all records of a cache, or of all caches, are invalid.
// Whoever asks whether there is an entry says which floor it knows.
//
// # Outcomes
//
// An outage is never a miss: ErrNotFound means that Redis answered and holds no such entry. ErrUnavailable means that
// the call did not happen. ErrUnknownOutcome, which is returned beside ErrUnavailable or the context's error, means that a change
// was sent and its reply never came. No change is ever repeated once it was sent: go-redis repeats an EVAL whose
// reply was lost up to three times by default, and an increment would be counted four times.
//
// # Deadlines
//
// go-redis ignores a context's cancellation once a command is sent. Each call here runs in a goroutine that outlives an
// impatient caller: the caller returns when its context ends, or after Options.Timeout, while the goroutine waits for
// the socket. Close waits for all of them.
package remote
