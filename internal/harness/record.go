package harness

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/doppio-cache/doppio/internal/history"
	"github.com/doppio-cache/doppio/tiered"
)

// Recorder writes the log of an instance, whose changes it numbers.
type Recorder struct {
	*history.Writer
	changes atomic.Uint64
}

// Record begins the log of an instance: see [history.Create].
func Record(path, instance string, bound time.Duration) (*Recorder, error) {
	w, err := history.Create(path, instance, bound)
	if err != nil {
		return nil, err
	}
	return &Recorder{Writer: w}, nil
}

// Change calls tell, which tells the cache of a version that was committed, and writes down that it
// began and how it ended. It returns the error of tell, and when that had returned.
func (r *Recorder) Change(
	method history.Method, key uint32, version uint64, tell func() error,
) (ended int64, err error) {
	o := history.Op{
		Kind: history.Begin, Start: history.Now(), Change: r.changes.Add(1), Key: key,
		Version: version, Method: method,
	}
	r.Add(o)
	err = tell()
	o.Start, o.Kind = history.Now(), outcome(err)
	r.Add(o)
	return o.Start, err
}

// outcome returns the kind of a change's end for its error. After a context has ended the outcome
// is unknown.
func outcome(err error) history.Kind {
	switch {
	case err == nil:
		return history.Acked
	case errors.Is(err, tiered.ErrUnknownOutcome),
		errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return history.Unknown
	default:
		return history.Failed
	}
}
