// Package history records what a fleet of instances did to a cache, and checks it against what the cache promises.
//
// A test has a source: a register for each key, whose version only rises. Instances read through the cache and write to the
// source, and then tell the cache. Everything is written down, each process in a log of its own, with times of the one
// monotonic clock of the machine ([Now]). [Check] reads the logs together. It needs no solver: versions only rise, so that
// each read is judged by itself, in O(log n).
//
// # Rules
//
// A version is acknowledged when a change (a Delete or a Set, called after the commit of that version) returned without an
// error. A change that failed promises nothing, until one that was made later is acknowledged.
//
//   - G1: what Redis holds is no older than the newest version acknowledged before it was looked at.
//   - G2: a read is no older than the newest version acknowledged before its start, less the bound of its instance.
//   - G3: a read is no older than what its own instance had been acknowledged before the read's start.
//   - Invention: a read is no newer than the newest version committed before its end. A history without any commit has a
//     source that writes nothing down, and this rule is not applied to it.
//   - Foreign: a value belongs to the key that was asked for.
//
// A Set whose outcome nobody knows (its reply was lost, its process was killed) may happen at any time later, as long as
// some connection still holds it. Its value may then follow that of a later change. Reads of exactly that version
// are excused until a change that began [Options].Late after the failure has been acknowledged; they are counted. A Delete
// that happens late takes nothing away from anybody.
//
// Each read is judged by itself, so that a history may leave out reads that are known not to be stale.
//
// Writers that Set must take turns for each key, from their commit to the end of their Set, also with those that Delete:
// two that do not could store the older value last, and no cache would know.
//
// # Format
//
// A log is text, one line for each operation, fields separated by single spaces, times in nanoseconds:
//
//	h <instance> <bound>                      the log is of this instance, whose reads are held to this bound (0: Options.Bound)
//	c <time> <key> <version>                  the source is about to show this version
//	s <time> <change> <key> <version> <d|s>   a Delete or Set begins, after the commit of the version; changes are numbered by their log
//	a <time> <change>                         the change was acknowledged
//	f <time> <change>                         it failed, and did not happen
//	u <time> <change>                         it failed, and may have happened
//	r <start> <end> <key> <tier> <result>     a read; tier n local, f remote, l load, o a value past its life
//	p <start> <end> <key> <result>            what Redis was seen to hold
//	x <time> <instance>                       an instance's process has ended
//
// A result is a version, or - (nothing), ! (an error), ? (another key's value, or an unreadable one). A process may be
// killed at any time: the last line counts only if its newline was written.
package history
