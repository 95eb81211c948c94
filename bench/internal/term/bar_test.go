package term

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// screen keeps what is drawn on it.
type screen struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

// drawn are the lines that were drawn over each other, and what came after the last.
func (s *screen) drawn() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Split(s.b.String(), "\r")
}

func TestBarOnATerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s screen
		width := 80
		p := start(&s, func() int { return width })
		p.Set(0.25, "row %d", 1)
		time.Sleep(1850 * time.Millisecond)
		synctest.Wait()
		if got := s.drawn(); len(got) != 1 || got[0] != "" {
			t.Errorf("before 2 s: %q", got)
		}
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		got := s.drawn()
		if want := "[######..................]  25 %  row 1\x1b[K"; got[len(got)-1] != want {
			t.Errorf("it shows %q, want %q", got[len(got)-1], want)
		}
		width = 30 // it is made smaller
		p.Set(0.5, "a long name of what is being done")
		time.Sleep(barEvery)
		synctest.Wait()
		got = s.drawn()
		if want := "[############............]  50"; got[len(got)-1] != want[:width-1]+"\x1b[K" {
			t.Errorf("it shows %q, want %q", got[len(got)-1], want[:width-1])
		}
		width = 80
		p.Set(2, "µ")
		p.End()
		got = s.drawn()
		if want := "[########################] 100 %  µ\x1b[K\n"; got[len(got)-1] != want {
			t.Errorf("at the end it shows %q, want %q", got[len(got)-1], want)
		}
		for _, line := range got[:len(got)-1] {
			if strings.Contains(line, "\n") {
				t.Errorf("a bar that scrolls: %q", line)
			}
		}
	})
}

// TestBarOfWhatIsShort: not even the end of the line is written.
func TestBarOfWhatIsShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s screen
		p := start(&s, func() int { return 80 })
		p.Set(1, "all")
		time.Sleep(time.Second)
		p.End()
		if got := s.drawn(); len(got) != 1 || got[0] != "" {
			t.Errorf("it shows %q", got)
		}
	})
}

func TestClip(t *testing.T) {
	for _, c := range []struct {
		line  string
		width int
		want  string
	}{{"µs ago", 0, "µs ago"}, {"µs ago", 7, "µs ago"}, {"µs ago", 6, "µs ag"}, {"µs ago", 2, "µ"}, {"µs ago", 1, ""}} {
		if got := clip(c.line, c.width); got != c.want {
			t.Errorf("clip(%q, %d) = %q, want %q", c.line, c.width, got, c.want)
		}
	}
}

func TestNoTerminalHasNoBar(t *testing.T) {
	p := Start(io.Discard)
	defer p.End()
	if p.width != nil {
		t.Error("a bar where no terminal is")
	}
}
