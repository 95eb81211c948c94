// Package alloctest holds calls to a number of bytes that they may allocate. Fuzz targets of what comes off a wire use
// it: a few bytes that make a decoder allocate many are as harmful as a panic.
package alloctest

import (
	"runtime"
	"testing"
)

// attempts is how often a call that allocated too much is made again.
const attempts = 4

// AtMost fails t if f allocates more than limit bytes, garbage included. What other goroutines allocate meanwhile is
// counted too, so f runs again when there were more, and fails t only if there were more each time: f must be
// repeatable. Pools are emptied before each repetition. Otherwise a buffer that the first run has grown and given
// back would hide what f needs.
func AtMost(t testing.TB, limit uint64, what string, f func()) {
	t.Helper()
	least := allocated(f)
	for i := 1; least > limit && i < attempts; i++ {
		runtime.GC() // the first collection only moves what pools hold
		runtime.GC()
		least = min(least, allocated(f))
	}
	if least > limit {
		t.Errorf("%s allocated %d bytes, at most %d are justified", what, least, limit)
	}
}

func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
