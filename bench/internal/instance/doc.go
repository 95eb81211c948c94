// Package instance has the parts of an instance of a fleet, and how it is told whether a read was stale.
//
// A parent and its instances are those of internal/harness, which has the source, too. They share memory that all processes
// map ([Shared]).
//
// # What is stale
//
// Every key of the source has a version that only rises. A read is stale if it returns a version lower than the highest
// one whose invalidation was acknowledged, to whichever instance, before the read began. The acknowledged versions
// stand in memory shared by all processes, one word per key, raised after the invalidation returned and read before a
// read begins: atomic, so the order is a fact and not a comparison of clocks. Clocks only tell how old a stale read
// was: the time from the first acknowledgement that it missed to its own beginning, both from the one monotonic clock
// of the machine. Each instance logs its changes and those of its reads that were stale, which internal/history checks: see
// there for what changes that failed oblige reads to.
package instance
