// Package remote is the remote tier: records in Redis or Valkey, over any go-redis v9 client.
//
// A [Record] has a payload, which the package does not interpret, and says what it is: a value, a
// lease of an instance that is loading the value, or a negative record, which says that there is no
// value. Every change is one script.
//
// # Announcements
//
// A change is announced in a lane: a Redis stream whose entries are also published, with their ids,
// so that a receiver notices which it has missed (see package invalidation). On one server
// (standalone or Sentinel) a change and its announcement are one script, and a change that cannot
// be announced is not made. On a Cluster, where key and lane are on different nodes, the change
// comes first; if the announcement then fails, the error matches ErrUnknownOutcome.
//
// A lane also has remote floors: ids of the lane below which all records of a cache, or of all
// caches, are invalid. Methods that ask whether there is an entry take the floor that the caller
// knows.
//
// # Outcomes
//
// An outage is never a miss: ErrNotFound means that Redis answered and has no such entry.
// ErrUnavailable means that the call was not made. ErrUnknownOutcome, which is returned beside
// ErrUnavailable or the context's error, means that a change was sent and no reply came. No change
// is repeated once it was sent: by default go-redis repeats an EVAL whose reply was lost up to
// three times, and an increment would count four times.
//
// # Deadlines
//
// go-redis ignores the cancellation of a context once a command is sent. So each call runs in a
// goroutine that may outlive its caller: the caller returns when its context ends, or after
// Options.Timeout, while the goroutine waits for the connection. [Store.Close] waits for all of
// them.
package remote
