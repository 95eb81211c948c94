//go:build !race

package tiered_test

const raceAllocs = 0
