package lane

import (
	"math"
	"strings"
	"testing"

	"github.com/doppio-cache/doppio/internal/alloctest"
)

func TestID_readsBackAndKeepsItsOrder(t *testing.T) {
	ids := []string{"0-0", "0-1", "1-0", "1764089278123-0", "1764089278123-1048575", "1764089278124-0", "17592186044415-1048575"}
	var before ID
	for i, s := range ids {
		id, err := Parse(s)
		if err != nil || id.String() != s {
			t.Fatalf("%s is read as %v, %v", s, id, err)
		}
		if i > 0 && id <= before {
			t.Errorf("%s does not come after %s", s, ids[i-1])
		}
		before = id
		wire := id.AppendWire(nil)
		if back, err := FromWire(wire); err != nil || back != id || len(wire) != WireSize {
			t.Errorf("%s from %d bytes of the wire: %v, %v", s, len(wire), back, err)
		}
	}
	if before != math.MaxUint64 {
		t.Errorf("the last id is %x", uint64(before))
	}
}

func TestParse_refusesTextThatIsNoID(t *testing.T) {
	for _, s := range []string{"", "-", "1", "1-", "-1", "a-b", "1-2-3", "1 - 2", "17592186044416-0", "17592186044415-1048576", "1-18446744073709551616", "99999999999999999999-0", "1-" + strings.Repeat("0", 40)} {
		if id, err := Parse(s); err == nil {
			t.Errorf("%q is read as %v", s, id)
		}
	}
	if _, err := FromWire(make([]byte, WireSize-1)); err == nil {
		t.Error("a short wire is read")
	}
}

// While the server's clock is behind an id of the stream, ids rise by seq alone, past its 20 bits.
func TestID_carriesALargeSequenceNumber(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"100-1048575", "100-1048575"}, {"100-1048576", "101-0"}, {"100-1048583", "101-7"}, {"100-4294967295", "4195-1048575"},
	} {
		id, err := Parse(c.in)
		if err != nil || id.String() != c.want {
			t.Errorf("%s is read as %v, %v, want %s", c.in, id, err, c.want)
		}
	}
	wire := []byte{0, 0, 0, 0, 0, 0, 0, 100, 0, 16, 0, 7}
	if id, err := FromWire(wire); err != nil || id.String() != "101-7" {
		t.Errorf("100-1048583 of the wire is read as %v, %v", id, err)
	}
}

func TestIndex_usesEveryLane(t *testing.T) {
	const count = 5
	var seen [count]int
	for i := range uint64(10_000) {
		seen[Index(i*0x9E3779B97F4A7C15, count)]++
	}
	for i, n := range seen {
		if n < 1_600 || n > 2_400 {
			t.Errorf("lane %d has %d of 10,000 hashes", i, n)
		}
	}
	if Index(math.MaxUint64, 1) != 0 || Index(7, 0) != 0 {
		t.Error("the only lane is not 0")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("1764089278123-7")
	f.Add(strings.Repeat("x", 1000) + "-" + strings.Repeat("1", 1000))
	f.Fuzz(func(t *testing.T, s string) {
		alloctest.AtMost(t, 4<<10, "reading an id", func() { _, _ = Parse(s) })
		if id, err := Parse(s); err == nil {
			if again, err := Parse(id.String()); err != nil || again != id {
				t.Errorf("%q is %v, then %v, %v", s, id, again, err)
			}
		}
	})
}
