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
// Package instance says what a stale read is, and how it is found.
//
// An instance that did not make the invalidation learns of it by a message, so its reads may trail by about one hop of
// publish and subscribe. The report counts these apart from later ones, from those beyond the bound that the library
// sets (MaxStaleness), and from reads that missed an invalidation of their own instance; the last two there must not
// be.
package demo
