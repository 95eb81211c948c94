package lane

import (
	"strings"
	"testing"

	"github.com/doppio-cache/doppio/internal/alloctest"
)

func TestFloors_leaveOutFieldsThatAreNoIDs(t *testing.T) {
	floors, unreadable := Floors(map[string]string{"a": "5-1", "b": "", "c": "17592186044416-0", "d": "5-1048576", "!": "x y"})
	if len(floors) != 2 || unreadable != 3 || floors["a"] != 5<<20|1 || floors["d"] != 6<<20 {
		t.Errorf("floors %v, %d unreadable", floors, unreadable)
	}
}

func FuzzFloors(f *testing.F) {
	f.Add("users", "1764089278123-7", "!", "garbage")
	f.Add("users", strings.Repeat("1", 1000), "!", strings.Repeat("x", 1000))
	f.Fuzz(func(t *testing.T, name, id, name2, id2 string) {
		fields := map[string]string{name: id, name2: id2}
		alloctest.AtMost(t, 4<<10, "reading floors", func() { Floors(fields) })
		floors, unreadable := Floors(fields)
		if len(floors)+unreadable != len(fields) {
			t.Errorf("%d floors and %d unreadable ones of %q", len(floors), unreadable, fields)
		}
		for name, floor := range floors {
			if want, err := Parse(fields[name]); err != nil || uint64(want) != floor {
				t.Errorf("the floor of %q is %v, %v from %q", name, ID(floor), err, fields[name])
			}
		}
	})
}
