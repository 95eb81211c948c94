// Package compare lets several libraries do the same work in one run, and tells how they fared beside each other.
//
// # Method
//
// A row is one piece of work: 100,000 reads, say, by all cores, of keys that follow Zipf's law. Every subject does it through
// the same interface of package peers, from the same loop, with the same keys in the same order.
//
//   - The work is cut in slices of about 100 ms ([Options].Slice). How many operations make such a slice is measured for each
//     subject before the first round, which warms it up as well.
//   - In each round every subject works for one slice, in an order that is shuffled anew for each round ([Options].Seed). So a
//     machine that slows down slows all of them, and nobody always follows the same neighbour.
//   - Ratios are those of slices of the same round; what a cell shows is their median, lowest and highest. That is the result.
//     Absolute times are a footnote: they say what this machine did.
//   - A collection of garbage is forced before each slice, so that nobody pays for another's garbage. All caches of a group are
//     alive meanwhile, and a collection during a slice marks all of their entries: who allocates, pays for that.
//   - Keys, their order and values are made before the clock runs. The loop compares what it was answered with what it
//     has to be, and looks at every error, which costs all of them the same two or three nanoseconds.
//   - An error, a wrong value, a miss where there must be none, a local hit that was none, or a remote hit that was local (the
//     server's counters tell both) makes a subject drop out of the row, with the reason in its cell. An outage is never a result.
//   - With several callers, the time of an operation is the time of the slice divided by all operations: what a caller sees is
//     that times the callers.
//   - Allocations are the difference of the process's counters over a slice, the lowest of the rounds: what the process does
//     beside the work only adds to them.
//   - Entries fit the caches: where admission dropped some (ristretto drops writes in bursts), they are written again until they
//     are held. The few keys that somebody will not hold are left out for everybody; who holds less than 99 % drops out.
//
// # Groups
//
// "local hit" reads what is local, with 100,000 keys, or 512 hot ones. "remote hit" and "100 keys" have the local tier switched off.
// "full miss" reads, loads and stores a key that is nowhere; "set" and "delete" change entries that exist. They use the whole of a
// subject: both tiers if it has them (sturdyc stores what it loaded when the caller has gone, so its misses seem cheaper).
// "stampede" lets 1,000 callers on each of 4 instances want one cold key whose load takes 50 ms: one key by the clock, and then one
// whose commands are counted, for MONITOR slows the server down. "95/5 mix" counts operations a second, of 16 callers whose keys
// were all local when it began; "loads/op" tells who lost some. "memory" and "gc" fill a cache of each subject in a process
// of its own; what it takes for few entries, connections above all, is no part of an entry. The memory of an entry is all that
// there is of it but the strings that the caller has as keys, and 8 bytes of value. So a copy that a library makes of a key counts
// (doppio's entry holds its key, rueidis has Redis's), and the caller's own key, which others refer to and
// keep alive, does not. "commands" does one thing at a time
// and counts what clients sent (commands/op), for MONITOR tells what scripts called; "commands run/op" of other rows has both.
// "idle" watches an instance that nobody uses. Counts of commands take the server to be this run's alone.
//
// # Budgets
//
// [Check] is the regression guard: a few rows, ours and the baseline interleaved, held against a list of [Budget]. It holds the
// best time of all rounds against the baseline's best, and looks at the fewest allocations, because a busy machine only ever
// adds to either. Counts that no machine changes (commands, loads, goroutines) have limits of their own, the median of the rounds'. It does not take the lowest of the rounds' ratios: noise in the baseline lowers a ratio, and one such round
// would hide a regression. Limits are generous, it measures again before it convicts, and no absolute time is ever judged.
package compare
