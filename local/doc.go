// Package local is the local tier: a bounded store of entries in this process, with the engine
// ristretto or otter.
//
// A [Tier] owns the memory and an engine, ristretto by default. A [Scope] is a partition of a tier:
// the entries of two scopes never meet, and each scope counts its own hits and misses. [Cache] is a
// typed cache with TTLs on a tier of its own, for programs that use the local tier alone.
//
// # Guarantees
//
// With either engine:
//
//   - A value that was overwritten or deleted is never read again: once [Scope.Set] or
//     [Scope.Delete] has returned, no [Scope.Lookup] that begins later returns an older entry of
//     that key. Bare ristretto keeps the older of two Sets in a row on a new key.
//   - An entry that [Scope.Set] accepted can be read at once. The engine may evict it, or reject
//     it, later.
//   - An entry is found by the hash of its key, and its key and scope are compared. A collision
//     of hashes costs a miss, and never returns a wrong value.
//   - The tier stays within its bound, MaxEntries or MaxBytes, however many goroutines write.
//     Writes that the engine has not applied yet may exceed it for a moment, by a sixteenth (of
//     MaxEntries, by 64 at least), and by one entry for each writer. Beyond that, [Scope.Set]
//     waits for the engine.
//   - A burst of Sets waits for the engine and is not dropped.
//   - An expired entry that is not read is removed within 5 seconds or a 64th of its lifetime,
//     whichever is longer, at no cost to reads. No timer runs while no entry expires.
//   - Every method may be called beside every other, Close included. After Close every read is a
//     miss and every write does nothing.
//
// # Duties of the caller
//
// Lookup does not read the clock, and knows nothing of invalidations. The caller checks the times
// and the stamp of the entry, and then calls exactly one of [Scope.Hit] and [Scope.Stale]. Close
// waits for that call. [Cache] does all this.
//
// docs/adr/0004-local-tier-engines.md says how stale reads are prevented and why ristretto is the
// default.
package local
