// Package instance holds what the commands share that run the cache in several processes: what a parent and its instances
// say to each other, and how it is told whether a read was stale.
//
// A parent starts instances (see [Process]), which are this executable again. It owns the slow source of truth ([Source]) and memory
// that all processes map ([Shared]); an instance ends when its standard input does, or, where the system can do that, when its
// parent ends, whatever state either is in.
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
