// Package fleet runs several processes with a cache each over one Redis, puts them under load, lets them come and go and things
// go wrong, and measures what it costs and whether any read was a lie. Commands fleet and chaos are its faces.
//
// # Who does what
//
// The parent ([Run]) owns the slow source of truth, memory that all processes share, and the ways that some faults need. Each
// instance is this executable again ([RunInstance]), with workers that send requests of their own: GetOrSet over the source, or
// a commit to the source and then Delete (or Set). A further process, the writer, has no readers: it changes keys at a rate of
// its own, as another service does that shares the source, and sends the probes. Faults and churn never hit the writer.
//
// # Closed and open loops
//
// Without a rate, each worker sends its next request when the last was answered. That tells what the machine can do; it hides
// waiting, since a slow moment is asked about once by each worker, where independent callers would have gone on arriving.
// With a rate, requests come at random moments (exponential gaps), whether the last was answered or not. The latency "response"
// is of all requests, those that failed too, from the moment at which they were to begin to their ends: a pause counts for every
// request that came while it lasted (this corrects for coordinated omission). Requests that never began, since their workers were
// behind until the end, have no latency: a run says how many were due beside how many there were. It has the lateness of timers in it too, some 50 µs and more, and the
// wait behind other requests of the same worker, loads for example. Latencies by tier are those of the call alone.
//
// # Staleness
//
// Every key of the source has a version that only rises. A read is stale if it returns a version lower than the highest
// one whose invalidation was acknowledged, to whichever instance, before the read began. The acknowledged versions
// stand in memory shared by all processes ([Shared]), one word per key, raised after the invalidation returned and read before a
// read begins: atomic, so the order is a fact and not a comparison of clocks. Clocks only tell how old a stale read
// was: the time from the first acknowledgement that it missed to its own beginning, both from the one monotonic clock
// of the machine. Each instance logs its changes and those of its reads that were stale, which internal/history checks: see
// there for what changes that failed oblige reads to.
//
// Every read is judged, those of the warm-up and those of processes that were killed included. Each process that ever sat in an instance's place is an instance of its own. With
// --write set each key has one writer, since versions that two set out of order would be the application's fault.
//
// # Lag
//
// Five times a second, at moments that all processes know from the machine's clock, the writer deletes a key that nobody reads. It
// notes, in shared memory, the lane's id of that change and when it was acknowledged. The first four instances look every 50 µs
// or so, from shortly before, at how far the cache has applied the lane, and note when that first reached the id. The lag
// is the time between the two; nothing, where an instance knew before the writer did, which happens, as the message leaves Redis
// before the reply. While a lane stands still, each probe made meanwhile is waited for, and one that is still not known at the end
// counts as at least as late as it is then. The lag is read to about 0.1 ms, and it includes the time that a process waited for a core.
//
// # Redis, and the machine
//
// What servers did is the difference of two samples of their INFO, at the beginning and at the end of the measurement.
// How many commands they were sent, the processes count: servers count what scripts call in the same way. All processes
// share the machine's cores with Redis and with the parent, whose source and, if embedded, server use some of them too. A run
// says what share of all cores was busy: near 100 % its latencies are those of waiting for a core, and say nothing of the
// cache. Compare runs, not with the figures of another machine.
//
// # Extrapolation
//
// What Redis spends is taken for a sum: some for itself, some for each change (a script), for each delivery of a change to a
// subscriber, for each subscriber's echoes, for each remote hit and for each load. Each of these costs is measured by itself, as
// the difference between two runs that differ in that thing only: fleets of one instance and of several at which nobody works,
// the same with changes alone, remote hits alone (of an instance that keeps nothing local over a Redis that has everything), and
// loads alone (of keys that nobody has asked for before). There are three rounds of these runs. The median counts, and how far
// the rounds are from it is printed beside it, with the formula. The table shows what the formula says beside what was
// measured.
package fleet
