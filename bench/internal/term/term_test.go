package term_test

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/doppio-cache/doppio/bench/internal/term"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNumbers(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{term.Percent(0.1234), "12.3 %"},
		{term.Micros(0.25), "250 ns"},
		{term.Micros(2.5), "2.50 µs"},
		{term.Micros(250), "250 µs"},
		{term.Micros(2500), "2.50 ms"},
		{term.Micros(2_500_000), "2.50 s"},
		{term.Thousands(-1234567), "-1,234,567"},
		{term.Thousands(-123), "-123"},
		{term.Number(0), "0"},
		{term.Number(0.01234), "0.0123"},
		{term.Number(1.234), "1.23"},
		{term.Number(12.34), "12.3"},
		{term.Number(1234.5), "1,235"},
		{term.Bytes(12), "12 B"},
		{term.Bytes(1536), "1.5 KiB"},
		{term.Bytes(3 << 20), "3.0 MiB"},
		{term.Bytes(3 << 30), "3.0 GiB"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

func TestTableAligns(t *testing.T) {
	table := term.NewTable("name", "ns", "allocs")
	table.Row("µs", "1")
	table.Row("longer", "1,000", "2")
	var b strings.Builder
	if err := table.Write(&b); err != nil {
		t.Fatal(err)
	}
	const want = "    name       ns  allocs\n    µs          1        \n  longer    1,000       2\n"
	lines := strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
	if len(lines) != 3 {
		t.Fatalf("%q, want three lines as %q", b.String(), want)
	}
	end := func(line, cell string) int { return len([]rune(line[:strings.Index(line, cell)+len(cell)])) }
	if end(lines[0], "ns") != end(lines[1], " 1") || end(lines[1], " 1") != end(lines[2], "1,000") {
		t.Errorf("numbers do not end together:\n%s", b.String())
	}
	if strings.Index(lines[0], "name") != strings.Index(lines[2], "longer") {
		t.Errorf("names do not begin together:\n%s", b.String())
	}
}

// lockedBuffer is what progress is written to while the test looks at it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestProgressIsForWhatTakesLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b lockedBuffer
		p := term.Start(&b)
		p.Set(0.5, "half of %d", 10)
		time.Sleep(1900 * time.Millisecond)
		synctest.Wait()
		if b.String() != "" {
			t.Errorf("before 2 s: %q", b.String())
		}
		time.Sleep(2500 * time.Millisecond)
		p.Set(7, "all")
		p.End()
		p.End()
		if got := b.String(); got != "   2 s   50 %  half of 10\n   4 s   50 %  half of 10\n" {
			t.Errorf("in a pipe, plain lines: %q", got)
		}
	})
	var none *term.Progress
	none.Set(1, "nothing is shown")
	none.End()
}
