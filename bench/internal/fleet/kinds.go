package fleet

import (
	"context"
	"errors"

	"github.com/doppio-cache/doppio/tiered"
)

// kind is one of errors, by the sentinels of the library.
type kind int

// The kinds, the most telling first.
const (
	spoiltValue kind = iota
	unknownOutcome
	writeRefused
	remoteUnavailable
	loadFailed
	sourceFailed
	deadline
	closed
	other
	kinds // how many there are
)

const _ = uint(MaxKinds - kinds) // each has a counter

// String names the kind.
func (k kind) String() string {
	return [...]string{
		"spoilt value", "unknown outcome", "write refused", "remote unavailable", "load", "source", "deadline", "closed", "other",
	}[k]
}

// counter is where errors of the kind are counted.
func (k kind) counter() Counter { return KindsAt + Counter(k) }

func kindOf(err error) kind {
	var load *tiered.LoadError
	switch {
	case errors.Is(err, errSpoilt):
		return spoiltValue
	case errors.Is(err, tiered.ErrUnknownOutcome):
		return unknownOutcome
	case errors.Is(err, tiered.ErrWriteRefused):
		return writeRefused
	case errors.Is(err, tiered.ErrRemoteUnavailable):
		return remoteUnavailable
	case errors.As(err, &load):
		return loadFailed
	case errors.Is(err, errSource):
		return sourceFailed
	case errors.Is(err, context.DeadlineExceeded):
		return deadline
	case errors.Is(err, tiered.ErrClosed), errors.Is(err, context.Canceled):
		return closed
	default:
		return other
	}
}

var (
	errSpoilt = errors.New("fleet: the value is another key's, or spoilt")
	errSource = errors.New("fleet: source")
)
