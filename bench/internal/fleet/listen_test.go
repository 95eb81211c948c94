package fleet

import (
	"testing"
	"time"
)

// A lane that stands still is late for every probe made meanwhile, not just for the first.
func TestEachProbeOfAStandstillIsLate(t *testing.T) {
	type note struct {
		id    uint64
		acked int64
	}
	every := int64(probeEvery)
	notes := map[int64]note{
		10: {100, 10*every + 1e6},
		// 11 was never made, since 10 took its writer so long.
		12: {120, 12*every + 1e6},
		13: {130, 13*every + 1e6},
		14: {140, 14*every + 1e6},
		15: {150, 15*every + 1e6},
		16: {160, (16-64)*every + 1e6}, // of another round: not made yet
	}
	l := listener{noted: func(n int64) (uint64, int64) { return notes[n].id, notes[n].acked }, lag: NewHistogram()}
	at := func(n int64, ms float64) int64 { return n*every + int64(ms*1e6) }
	for n := int64(10); n <= 14; n++ {
		l.take(n, true)
		l.look(99, at(n, 2))
	}
	if l.lag.Count() != 0 || len(l.open) != 4 {
		t.Fatalf("%d settled, open %v, want the four that were made", l.lag.Count(), l.open)
	}
	l.look(135, at(14, 51)) // 10, 12 and 13 are known now
	l.take(15, false)       // not measured
	l.take(16, true)
	l.look(135, at(16, 10))
	if l.lag.Count() != 3 || len(l.open) != 3 {
		t.Errorf("%d settled, open %v", l.lag.Count(), l.open)
	}
	near(t, "the longest, in ms", float64(l.lag.At(100))/1e6, float64(4*probeEvery/time.Millisecond)+50, 0.01)
	near(t, "the shortest, in ms", float64(l.lag.At(1))/1e6, float64(probeEvery/time.Millisecond)+50, 0.01)
	l.end(at(24, 1))
	if l.lag.Count() != 4 {
		t.Errorf("%d recorded, want the one too that was never known", l.lag.Count())
	}
	near(t, "the longest, in ms", float64(l.lag.At(100))/1e6, float64(10*probeEvery/time.Millisecond), 0.01)
}

func TestAProbeKnownBeforeItIsAcknowledgedHasNoLag(t *testing.T) {
	acked := int64(0)
	l := listener{noted: func(int64) (uint64, int64) { return 5, acked }, lag: NewHistogram()}
	now := 100 * int64(probeEvery)
	l.take(100, true)
	l.look(4, now)
	l.look(6, now+1e6)
	acked = now + 2e6
	l.look(9, now+3e6)
	if l.lag.Count() != 1 || l.lag.At(100) != 0 || len(l.open) != 0 {
		t.Errorf("%d recorded, %s, open %v", l.lag.Count(), l.lag.At(100), l.open)
	}
}
