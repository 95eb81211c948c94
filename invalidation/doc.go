// Package invalidation keeps the near tiers of a fleet coherent: the messages that instances exchange, the table that decides
// when a near entry is read whether a newer change is known, and the receiver that feeds the one from the other.
//
// Validity is decided on read. A near entry carries a stamp, a position of its instance's Table taken before the
// entry's load began. Whatever is learned afterwards about its key raises the table's position for the hash of that
// key; an entry whose stamp is lower is not served. Nothing has to be removed from an engine for that, so an engine
// that applies removals late, or drops them, is harmless.
package invalidation
