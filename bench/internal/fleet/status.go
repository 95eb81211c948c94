package fleet

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/doppio-cache/doppio/internal/harness"
	"github.com/doppio-cache/doppio/internal/history"
)

// reportEvery is how often an instance puts what it counted, and how it is, into the shared memory.
const reportEvery = 5 * time.Millisecond

// dropReasons are those of tiered.Stats, but for firstSync; any that comes to be counts as the last.
var dropReasons = [...]string{"gap", "tail-lost", "trimmed", "history-lost", "unreadable", "tracking", "other"}

const _ = uint(MaxDrops - len(dropReasons)) // each has a counter

// firstSync is why each local tier is dropped once, when it is still empty: no drop of anything.
const firstSync = "first-sync"

// dropCounter is where drops for a reason are counted.
func dropCounter(reason string) Counter {
	i := slices.Index(dropReasons[:], reason)
	if i < 0 {
		i = len(dropReasons) - 1
	}
	return DropsAt + Counter(i)
}

// status is what an instance has told of itself in shared memory, which keeps what a process knew that is killed.
type status struct {
	*member
	last  state
	cpu   uint64
	asked bool // whether all of Redis can be reached
}

// keep keeps the shared memory up to date, until ctx ends, with what the workers do not count themselves.
func (s *status) keep(ctx context.Context) {
	ticker := time.NewTicker(reportEvery)
	defer ticker.Stop()
	var reaching sync.WaitGroup
	defer reaching.Wait()
	for {
		s.tell()
		if !s.asked && s.Shared.Raised(Reach) {
			s.asked = true
			reaching.Go(func() { s.reach(ctx) })
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (s *status) tell() {
	applied := s.cache.applied()
	now := s.cache.state()
	s.add(Received, now.invalidations-s.last.invalidations)
	s.add(Lost, now.losses-s.last.losses)
	s.add(Sent, now.sent-s.last.sent)
	for reason, n := range now.drops {
		if reason != firstSync {
			s.add(dropCounter(reason), n-s.last.drops[reason])
		}
	}
	s.last = now
	at := uint64(0)
	if now.coherent {
		at = uint64(history.Now())
	}
	// In this order: who sees that a change was applied, and then looks for coherence, sees what was found once it was.
	s.Shared.Set(s.cfg.Index, CoherentAt, at)
	s.Shared.Set(s.cfg.Index, Applied, applied)
	if used := processorTime(); used > s.cpu {
		s.add(CPU, used-s.cpu)
		s.cpu = used
	}
}

// reach tries to reach all of Redis until it does, and says so.
func (s *status) reach(ctx context.Context) {
	const patience = time.Second
	reached := func() bool {
		attempt, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		return s.cache.reach(attempt) == nil
	}
	for !reached() {
		if !harness.Sleep(ctx, reportEvery) {
			return
		}
	}
	s.Shared.Set(s.cfg.Index, Reached, 1)
}

func (s *status) add(c Counter, n uint64) { s.Shared.Add(s.cfg.Index, c, n) }

// processorTime is what this process has used, in microseconds.
func processorTime() uint64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return uint64((u.Utime.Nano() + u.Stime.Nano()) / 1000)
}
