package demo

import (
	"io"
	"sync"
	"time"

	"github.com/doppio-cache/doppio/bench/internal/instance"
	"github.com/doppio-cache/doppio/bench/internal/term"
)

// watchEvery is how often the instances' counters are looked at.
const watchEvery = 100 * time.Millisecond

// watch shows the progress until the function that it returns is called.
func (d *demo) watch(to io.Writer) (shown func()) {
	bar := term.Start(to)
	over := make(chan struct{})
	began := time.Now()
	var watching sync.WaitGroup
	watching.Go(func() {
		ticker := time.NewTicker(watchEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				d.tell(bar, time.Since(began))
			case <-over:
				d.tell(bar, time.Since(began))
				return
			}
		}
	})
	return func() {
		close(over)
		watching.Wait()
		bar.End()
	}
}

func (d *demo) tell(bar *term.Progress, elapsed time.Duration) {
	var n [instance.NumCounters]int64
	for i := range d.cfg.Instances {
		for c, v := range d.shared.Counts(i) {
			n[c] += int64(v)
		}
	}
	near, far, load := n[instance.NearReads], n[instance.FarReads], n[instance.LoadReads]
	of := func(tier int64) string { return term.Percent(ratio(tier, near+far+load)) }
	bar.Set(ratio(n[instance.Done], d.workload.requests), "%s of %s requests  %s/s  near %s  far %s  load %s  stale %s  errors %s",
		term.Thousands(n[instance.Done]), term.Thousands(d.workload.requests), term.Thousands(int64(float64(n[instance.Done])/elapsed.Seconds())),
		of(near), of(far), of(load), term.Thousands(n[instance.StaleReads]), term.Thousands(n[instance.Errors]))
}
