// Package invalidation keeps the near tiers of a fleet coherent: the messages that instances exchange, the table that decides
// when a near entry is read whether a newer change is known, and the receiver that feeds the one from the other.
//
// Validity is decided on read. A near entry carries a stamp, a position of its instance's Table taken before the
// entry's load began. Whatever is learned afterwards about its key raises the table's position for the hash of that
// key; an entry whose stamp is lower is not served. Nothing has to be removed from an engine for that, so an engine
// that applies removals late, or drops them, is harmless.
//
// # How a lane is followed
//
// Messages come from a lane, a stream in Redis that numbers them. Each is published with its own id and that of the one
// before, so that a Receiver sees when one was lost. The last of them it finds by its echoes: every quarter of MaxStaleness, a
// script, sent through the pool of connections, publishes the lane's last id to a channel that only this receiver
// subscribes to. When it comes back, whatever was published before it has come, too, or is known to be missing; only
// then may near entries be served for longer, until MaxStaleness after the echo was sent. A connection that is half-open, a
// subscriber left behind on another server, and a server that may not write bring no echo back.
//
// A new subscription begins where the last one ended: what was announced in between is replayed from the lane, and
// nothing is dropped. Where that cannot be, since the lane has been trimmed, or is not the one it was, the Handler is told
// to drop everything near, and why.
package invalidation
