package demo

import (
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// clock turns times of this process into readings of the machine's monotonic clock, which all its processes share. Those of
// one process are as exact as the clock; those of two may disagree by about a microsecond.
type clock struct {
	base  time.Time
	nanos int64
}

const clockTries = 64

func newClock() (clock, error) {
	var best clock
	narrowest := int64(math.MaxInt64)
	for range clockTries {
		// The process may lose its processor between two readings: of several tries the quickest is right.
		var before, after unix.Timespec
		err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &before)
		base := time.Now()
		if err := errors.Join(err, unix.ClockGettime(unix.CLOCK_MONOTONIC, &after)); err != nil {
			return clock{}, fmt.Errorf("demo: the monotonic clock: %w", err)
		}
		if gap := after.Nano() - before.Nano(); gap < narrowest {
			narrowest = gap
			best = clock{base: base, nanos: before.Nano() + gap/2}
		}
	}
	return best, nil
}

func (c clock) at(t time.Time) int64 { return c.nanos + int64(t.Sub(c.base)) }
