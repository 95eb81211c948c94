package tiered

import (
	"testing"
	"time"
)

// The documents say: for 1 s, or three quarters of MaxStaleness if that is less.
func TestGutter_lastsAsLongAsTheDocsSay(t *testing.T) {
	for bound, want := range map[time.Duration]time.Duration{
		MinMaxStaleness: 15 * time.Millisecond, time.Second: 750 * time.Millisecond, 4 * time.Second / 3: time.Second,
		DefaultMaxStaleness: time.Second, time.Hour: time.Second,
	} {
		if got := time.Duration(gutterTTL(bound)); got.Round(time.Microsecond) != want {
			t.Errorf("with a MaxStaleness of %v it keeps for %v, want %v", bound, got, want)
		}
	}
}
