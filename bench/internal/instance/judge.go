package instance

import (
	"context"
	"errors"
	"time"
)

// Logs are the paths of the two logs of one instance.
type Logs struct {
	Acks  string // of the invalidations that were acknowledged to it
	Stale string // of its stale reads
}

// Open creates both.
func (l Logs) Open() (acks, stale *Log, err error) {
	if acks, err = CreateLog(l.Acks); err != nil {
		return nil, nil, err
	}
	if stale, err = CreateLog(l.Stale); err != nil {
		return nil, nil, errors.Join(err, acks.Close())
	}
	return acks, stale, nil
}

// StaleRead is a stale read that was judged.
type StaleRead struct {
	Entry
	Age time.Duration // from the acknowledgement of the first invalidation that it missed to its beginning
	Own bool          // it missed one of its own instance
}

// Judge reads the logs of all instances and calls each for each stale read.
func Judge(logs []Logs, each func(StaleRead)) error {
	return JudgeUntil(context.Background(), logs, each)
}

// JudgeUntil is Judge for who may give up: it returns the cause when ctx ends.
func JudgeUntil(ctx context.Context, logs []Logs, each func(StaleRead)) error {
	known := make(acknowledged)
	for instance, l := range logs {
		err := ReadLog(l.Acks, func(e Entry) error {
			known.add(e, instance)
			return context.Cause(ctx)
		})
		if err != nil {
			return err
		}
	}
	for instance, l := range logs {
		err := ReadLog(l.Stale, func(read Entry) error {
			age, own, err := known.trail(read, instance)
			if err == nil {
				each(StaleRead{read, age, own})
				err = context.Cause(ctx)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
