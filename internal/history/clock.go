package history

import (
	"math"
	"sync"
	"time"
)

// moment is one moment on the machine's clock and on that of this process.
type moment struct {
	machine int64
	own     time.Time
}

// reference returns a moment. A process may lose its processor between two readings: of several
// tries the quickest is right.
var reference = sync.OnceValue(func() (best moment) {
	const tries = 64
	narrowest := int64(math.MaxInt64)
	for range tries {
		before := Now()
		own := time.Now()
		if gap := Now() - before; gap < narrowest {
			narrowest, best = gap, moment{before + gap/2, own}
		}
	}
	return best
})

// At returns what [Now] would have returned at a time of this process, to about a microsecond.
func At(t time.Time) int64 {
	r := reference()
	return r.machine + int64(t.Sub(r.own))
}

// Time returns the time of this process at which [Now] returned at.
func Time(at int64) time.Time {
	r := reference()
	return r.own.Add(time.Duration(at - r.machine))
}
