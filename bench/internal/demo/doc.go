// Package demo replays a request trace against a two-tier cache shared by several processes, and measures what it saved and
// whether it ever lied.
//
// The parent process owns everything: an embedded Redis (unless it is given one), the slow source of truth, the trace,
// and the instances, which are processes of their own with a tiered.Client each. It deals the requests of the trace to
// the instances in turn; a share of them are updates, which are committed to the source and then invalidated through
// the cache.
//
// # What is stale
//
// Every key of the source has a version that only rises. A read is stale if it returns a version lower than the highest
// one whose invalidation was acknowledged, to whichever instance, before the read began. The acknowledged versions
// stand in memory shared by all processes, one word per key, raised after the invalidation returned and read before a
// read begins: atomic, so the order is a fact and not a comparison of clocks. Clocks only tell how old a stale read
// was: the time from the first acknowledgement that it missed to its own beginning, both from the one monotonic clock
// of the machine.
//
// An instance that did not make the invalidation learns of it by a message, so its reads may trail by about one hop of
// publish and subscribe. The report counts these apart from later ones, from those beyond the bound that the library
// sets (MaxStaleness), and from reads that missed an invalidation of their own instance; the last two there must not
// be.
package demo
