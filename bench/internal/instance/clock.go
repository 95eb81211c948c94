package instance

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// Clock turns times of this process into readings of the machine's monotonic clock, which all its processes share. Those of
// one process are as exact as the clock; those of two may disagree by about a microsecond.
type Clock struct {
	base  time.Time
	nanos int64
}

const clockTries = 64

// NewClock reads both clocks at once, as nearly as that can be done.
func NewClock() (Clock, error) {
	var best Clock
	narrowest := int64(math.MaxInt64)
	for range clockTries {
		// The process may lose its processor between two readings: of several tries the quickest is right.
		var before, after unix.Timespec
		err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &before)
		base := time.Now()
		if err := errors.Join(err, unix.ClockGettime(unix.CLOCK_MONOTONIC, &after)); err != nil {
			return Clock{}, fmt.Errorf("instance: the monotonic clock: %w", err)
		}
		if gap := after.Nano() - before.Nano(); gap < narrowest {
			narrowest = gap
			best = Clock{base: base, nanos: before.Nano() + gap/2}
		}
	}
	return best, nil
}

// At is the reading at a time of this process.
func (c Clock) At(t time.Time) int64 { return c.nanos + int64(t.Sub(c.base)) }

// Now is the present reading.
func (c Clock) Now() int64 { return c.At(time.Now()) }

// Sleep waits for d, and tells false when ctx ends first.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Time is the time of this process at a reading.
func (c Clock) Time(at int64) time.Time { return c.base.Add(time.Duration(at - c.nanos)) }
