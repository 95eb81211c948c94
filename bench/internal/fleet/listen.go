package fleet

import (
	"context"
	"slices"
	"sort"
	"time"

	"github.com/doppio-cache/doppio/internal/history"
)

// listen measures the lag of the probes: from the acknowledgement in the writer to the moment at which this instance knows
// the change. It looks at how far the cache's lane has been applied, which costs Redis nothing, every 50 µs or so from shortly before
// the moment of a probe until all are known.
func (m *member) listen(ctx context.Context, lag *Histogram) {
	l := listener{noted: func(n int64) (uint64, int64) { return m.Shared.Noted(uint64(n)) }, lag: lag}
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	defer func() { l.end(history.Now()) }()
	next := history.Now()/int64(probeEvery) + 1
	for {
		if len(l.open) == 0 && !m.sleepUntil(ctx, next*int64(probeEvery)-int64(listenEarly)) {
			return
		}
		for ; history.Now() >= next*int64(probeEvery)-int64(listenEarly); next++ {
			l.take(next, m.Shared.Raised(Measure))
		}
		l.look(m.cache.applied(), history.Now())
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// listener keeps the probes that are not known yet, however many: a lane that stands still for a second is late for each probe of that
// second.
type listener struct {
	noted func(n int64) (id uint64, acked int64)
	lag   *Histogram
	open  []openProbe
	seen  []sighting // ids and moments rise
}

type openProbe struct {
	number   int64
	measured bool
}

// sighting is when a listener first saw that it knew all changes up to an id.
type sighting struct {
	id uint64
	at int64
}

// oldest is how many probes later one is given up that nobody noted: the notes are a ring, which keeps 64.
const oldest = 60

func (l *listener) take(number int64, measured bool) {
	l.open = append(l.open, openProbe{number, measured})
}

// look settles what is known by now. A change that is known here before it is acknowledged there has a lag of nothing.
func (l *listener) look(applied uint64, now int64) {
	if len(l.seen) == 0 || applied > l.seen[len(l.seen)-1].id {
		l.seen = append(l.seen, sighting{applied, now})
	}
	later := false // one after this has been noted, so that this one never will be: the writer makes one at a time
	for i, p := range slices.Backward(l.open) {
		id, acked := l.acknowledged(p.number)
		settled := later || now > (p.number+oldest)*int64(probeEvery)
		if id > 0 {
			later = true
			first := sort.Search(len(l.seen), func(i int) bool { return l.seen[i].id >= id })
			if settled = first < len(l.seen); settled {
				l.record(p, l.seen[first].at-acked)
			}
		}
		if settled {
			l.open = slices.Delete(l.open, i, i+1)
		}
	}
	if len(l.open) == 0 {
		l.seen = l.seen[:0]
	}
}

// acknowledged is the note of a probe, of which one of 64 probes before, in the same place, is none.
func (l *listener) acknowledged(number int64) (id uint64, acked int64) {
	id, acked = l.noted(number)
	if acked < (number-1)*int64(probeEvery) {
		return 0, 0
	}
	return id, acked
}

// end records those that are still not known: they are at least as late as they are by now.
func (l *listener) end(now int64) {
	for _, p := range l.open {
		if id, acked := l.acknowledged(p.number); id > 0 {
			l.record(p, now-acked)
		}
	}
}

func (l *listener) record(p openProbe, lag int64) {
	if p.measured {
		l.lag.Record(time.Duration(max(0, lag)))
	}
}
