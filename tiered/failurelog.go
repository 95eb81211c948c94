package tiered

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/remote"
)

// logInterval is how often a cache logs failures of one kind at most: an outage fails every call,
// and must not fill a disk.
const logInterval = 10 * time.Second

// failureLog logs failures of a cache that no caller sees. Of each message and kind of error it writes one line in
// logInterval, with the number of failures that were left out since the line before.
type failureLog struct {
	log *slog.Logger

	mu    sync.Mutex
	kinds map[failureKind]*repeated // guarded by mu; as many as there are messages and kinds
}

// failureKind is what makes failures alike. It holds nothing of the error's text, which may differ each time.
type failureKind struct {
	message string
	kind    error // one of failureKinds; nil for any other
}

type repeated struct {
	next int64 // a reading of local.Monotonic: the next line may be written from then on
	left int   // failures since the last line
}

// failureKinds are looked for in this order: an unknown outcome comes beside another kind.
var failureKinds = []error{
	ErrUnknownOutcome, ErrTooManyLoads, ErrRemoteUnavailable, ErrWriteRefused, ErrAccessDenied, ErrWrongType, ErrClosed,
	ErrValueTooLarge, ErrEncode,
}

func (l *failureLog) warn(ctx context.Context, message, cache string, err error) {
	k := failureKind{message: message}
	for _, kind := range failureKinds {
		if errors.Is(err, kind) {
			k.kind = kind
			break
		}
	}
	left, due := l.take(k)
	if !due {
		return
	}
	l.log.WarnContext(ctx, message, "cache", cache, "error", remote.WithoutOp(err), "left_out", left)
}

// take counts a failure, and reports whether a line is due, and how many failures were left out since the last one.
func (l *failureLog) take(k failureKind) (left int, due bool) {
	now := local.Monotonic()
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.kinds[k]
	switch {
	case r == nil:
		if l.kinds == nil {
			l.kinds = make(map[failureKind]*repeated)
		}
		l.kinds[k] = &repeated{next: now + int64(logInterval)}
		return 0, true
	case now < r.next:
		r.left++
		return 0, false
	}
	left = r.left
	r.left, r.next = 0, now+int64(logInterval)
	return left, true
}
