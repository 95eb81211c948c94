package local

import (
	"math"
	"time"
)

// processStart is the time from which Monotonic counts.
var processStart = time.Now()

// Monotonic returns the nanoseconds since the process started, by the monotonic clock. It is the
// default of Options.Clock; a caller that sets Entry.Expires reads the same clock. In a
// testing/synctest bubble it follows the bubble's time, and is negative.
func Monotonic() int64 { return int64(time.Since(processStart)) }

// Reading returns the result that Monotonic had at t, which must come from time.Now.
func Reading(t time.Time) int64 { return int64(t.Sub(processStart)) }

// After returns the reading that is d after at, or Never if that is out of range. A reading may be
// negative: in a testing/synctest bubble the clock begins before the process did.
func After(at int64, d time.Duration) int64 {
	if sum := at + int64(d); sum >= at || d < 0 {
		return sum
	}
	return Never
}

// Never is the value of Entry.Fresh and Entry.Expires that the clock does not reach.
const Never int64 = math.MaxInt64
