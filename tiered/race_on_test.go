//go:build race

package tiered_test

// raceAllocs is what the race detector, under which a sync.Pool forgets on purpose, adds to a call of the remote tier at most.
const raceAllocs = 12
