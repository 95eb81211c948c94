// Package invalidation keeps the local tiers of a fleet coherent. It has the messages that
// instances exchange, a [Receiver] that follows them, and a [Table] that decides on every read
// whether a local copy may be served.
//
// A local copy is validated when it is read. It carries a stamp: the position of its instance's
// Table before the load of the copy began. A message about a key raises the position of the key's
// hash in the table. A copy whose stamp is lower than that is not served. Nothing has to be removed
// from the local tier, so a tier that applies removals late, or drops them, serves no stale copy.
//
// # How a receiver follows a lane
//
// Messages come from a lane, a stream in Redis that gives each message an id. A message carries its
// own id and that of the message before it, so a Receiver notices when a message was lost.
//
// A lost message at the end of the lane is found by probes. A receiver sends a probe every quarter
// of MaxStaleness. A probe is a script that goes through the client's pool and publishes an echo,
// with the newest id of the lane, to a channel that only this receiver subscribes to. When the echo
// comes back over the subscription, every message that was published before it has come too, or is
// known to be missing. Only then may local copies be served for longer: until MaxStaleness after
// the probe was sent. No echo comes back over a half-open connection, from a server to which the
// subscription no longer belongs, or from a server that may not write.
//
// A new subscription begins where the last one ended: the messages in between are replayed from the
// lane, and no local copy is dropped. If the lane was trimmed or has lost its history, they cannot
// be replayed. The [Handler] is then told to drop every local copy, and for which reason.
//
// # Use without the rest of doppio
//
// A program that caches values in its own process runs one Receiver with a Handler that raises a
// Table, and serves a copy only while [Table.Valid] says so and the time of the last OnTrust is
// less than MaxStaleness ago. A program that changes values announces each change with package
// remote.
package invalidation
