package term

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

const (
	quiet     = 2 * time.Second        // what ends sooner shows nothing
	barEvery  = 100 * time.Millisecond // on a terminal
	lineEvery = 2 * time.Second        // elsewhere
	barWidth  = 24
)

// Progress shows how far something has come, once it has taken 2 s: a bar on a terminal, and a plain line every 2 s
// elsewhere, so that a log stays readable. The zero value is not for use; a nil Progress shows nothing.
type Progress struct {
	to      io.Writer
	width   func() int // of the terminal, 0 where it is not known; nil where there is none
	began   time.Time
	over    chan struct{}
	showing sync.WaitGroup

	mu    sync.Mutex
	share float64
	text  string
	shown bool
}

// Start shows progress on w until [Progress.End].
func Start(w io.Writer) *Progress {
	if f, isFile := w.(*os.File); isFile && term.IsTerminal(int(f.Fd())) {
		return start(w, func() int { return widthOf(f) })
	}
	return start(w, nil)
}

func start(w io.Writer, width func() int) *Progress {
	p := &Progress{to: w, width: width, began: time.Now(), over: make(chan struct{})}
	p.showing.Go(p.run)
	return p
}

func widthOf(f *os.File) int {
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// Set says which share is done, 0 … 1, and what is being done.
func (p *Progress) Set(share float64, format string, args ...any) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.share, p.text = min(max(share, 0), 1), fmt.Sprintf(format, args...)
}

// End shows the last state, if any was shown, and ends. It may be called again.
func (p *Progress) End() {
	if p == nil {
		return
	}
	p.mu.Lock()
	select {
	case <-p.over:
	default:
		close(p.over)
	}
	p.mu.Unlock()
	p.showing.Wait()
}

func (p *Progress) run() {
	every := lineEvery
	if p.width != nil {
		every = barEvery
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if time.Since(p.began) >= quiet-barEvery {
				p.show()
			}
		case <-p.over:
			if p.width != nil && p.shown {
				p.show()
				p.write("\n")
			}
			return
		}
	}
}

func (p *Progress) show() {
	p.mu.Lock()
	share, text := p.share, p.text
	p.mu.Unlock()
	p.shown = true
	if p.width == nil {
		p.write(fmt.Sprintf("%4.0f s  %3.0f %%  %s\n", time.Since(p.began).Seconds(), 100*share, text))
		return
	}
	full := int(share * barWidth)
	line := fmt.Sprintf("[%s%s] %3.0f %%  %s", strings.Repeat("#", full), strings.Repeat(".", barWidth-full), 100*share, text)
	p.write("\r" + clip(line, p.width()) + "\x1b[K")
}

// clip keeps a line from wrapping, which would leave its beginning behind when it is drawn again.
func clip(line string, width int) string {
	if width <= 0 || utf8.RuneCountInString(line) < width {
		return line
	}
	return string([]rune(line)[:width-1])
}

// write writes to the screen. A progress line that cannot be shown is not worth an error.
func (p *Progress) write(s string) { _, _ = io.WriteString(p.to, s) }
