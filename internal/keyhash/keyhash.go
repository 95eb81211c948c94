// Package keyhash gives a key its one 64-bit hash. The local tier indexes by it, the validity table
// is addressed by it, and invalidation messages carry it, so every instance of a fleet must compute
// the same number: it is not seeded by the process. Whoever uses a hash to find an entry compares the
// key as well; a collision then costs a miss, never a wrong value.
package keyhash

import "github.com/cespare/xxhash/v2"

// Seed is what a scope (a namespace and a cache name) adds to the hashes of its keys.
func Seed(scope string) uint64 { return xxhash.Sum64String(scope) }

// Sum hashes a key within the scope that seed stands for.
func Sum(seed uint64, key string) uint64 { return xxhash.Sum64String(key) ^ seed }
