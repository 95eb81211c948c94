package demo

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

const (
	barEvery  = 100 * time.Millisecond // on a terminal
	lineEvery = time.Second            // elsewhere
	barWidth  = 24
)

// show writes the progress until over: a bar on a terminal, else a line a second.
func (d *demo) show(over <-chan struct{}, to io.Writer) {
	f, isFile := to.(*os.File)
	terminal := isFile && term.IsTerminal(int(f.Fd()))
	every := lineEvery
	if terminal {
		every = barEvery
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	began := time.Now()
	for {
		select {
		case <-ticker.C:
			d.showOnce(to, terminal, time.Since(began))
		case <-over:
			if terminal {
				d.showOnce(to, terminal, time.Since(began))
				_, _ = fmt.Fprintln(to) // a progress line that cannot be shown is not worth a word
			}
			return
		}
	}
}

func (d *demo) showOnce(to io.Writer, terminal bool, elapsed time.Duration) {
	var n [counters]uint64
	for i := range d.cfg.Instances {
		for c := range n {
			n[c] += d.shared.count(i, counter(c))
		}
	}
	share := float64(n[countDone]) / float64(d.workload.requests)
	reads := n[countNear] + n[countFar] + n[countLoad]
	text := fmt.Sprintf("%3.0f %%  %s of %s requests  %s/s  near %s  far %s  load %s  stale %s  errors %s",
		100*share, thousands(int64(n[countDone])), thousands(d.workload.requests),
		thousands(int64(float64(n[countDone])/elapsed.Seconds())),
		percent(ratio(int64(n[countNear]), int64(reads))), percent(ratio(int64(n[countFar]), int64(reads))),
		percent(ratio(int64(n[countLoad]), int64(reads))), thousands(int64(n[countStale])), thousands(int64(n[countErrors])))
	if terminal {
		full := min(barWidth, int(share*barWidth))
		_, _ = fmt.Fprintf(to, "\r[%s%s] %s\x1b[K", strings.Repeat("#", full), strings.Repeat(".", barWidth-full), text)
		return
	}
	_, _ = fmt.Fprintf(to, "%3.0f s  %s\n", elapsed.Seconds(), text)
}
