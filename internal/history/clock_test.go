package history

import (
	"testing"
	"time"
)

func TestTimesOfAProcessAreThoseOfTheMachine(t *testing.T) {
	before := Now()
	at := At(time.Now())
	after := Now()
	const exact = int64(time.Millisecond) // the two clocks were read at once but for that
	if at < before-exact || at > after+exact {
		t.Errorf("%d is not between %d and %d", at, before, after)
	}
	if back := At(Time(at)); back != at {
		t.Errorf("%d is %d", at, back)
	}
}
