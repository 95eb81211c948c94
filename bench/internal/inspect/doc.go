// Package inspect looks into a running system and changes nothing: what Redis holds under a key, decoded and judged as an
// instance would judge it, and the invalidations of a namespace as they happen.
//
// Values are told only to who asks for them.
package inspect
