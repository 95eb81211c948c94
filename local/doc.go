// Package local is the near tier: a bounded store of entries in this process, behind a small engine
// interface.
//
// A [Tier] owns the memory and an engine, ristretto by default. A [Scope] is a partition of a tier: the
// entries of two scopes never meet, and each scope counts its own hits and misses. [Cache] is a typed
// cache with TTLs on a tier of its own, for those who want the near tier alone.
//
// # What is guaranteed
//
// With either engine:
//
//   - A value that was overwritten or deleted is never read again: once [Scope.Set] or [Scope.Delete] has
//     returned, no [Scope.Lookup] that begins later returns an older entry of that key. Bare ristretto keeps
//     the older of two Sets in a row on a new key.
//   - What [Scope.Set] accepted can be read at once. The engine may evict it, or refuse it admission, later.
//   - An entry is found by the hash of its key, and its key and scope are compared. A collision costs a miss,
//     never a wrong value.
//   - The tier stays within its bound, MaxEntries or MaxBytes, however many write to it. Writes that the engine has
//     not applied yet may exceed it for a moment, by a sixteenth (of MaxEntries, by 64 at least), and one entry for
//     each writer at most comes on top. [Scope.Set] waits for the engine rather than exceed that.
//   - A burst of Sets waits for the engine instead of being dropped.
//   - An entry that expired and is never read again is removed within 5 seconds or a 64th of its lifetime,
//     whichever is longer, without reads paying for it. Nothing wakes up when nothing expires.
//   - Every method is safe beside every other, Close included. After Close every read is a miss and every
//     write does nothing.
//
// # What is left to the caller
//
// Lookup does not read the clock, and knows nothing of invalidations: the caller looks at the entry's times
// and stamp, and then calls exactly one of [Scope.Hit] and [Scope.Stale]. Close waits for that call.
//
// How staleness is prevented and why ristretto is the default is told in docs/adr/0004-near-tier-engines.md.
package local
