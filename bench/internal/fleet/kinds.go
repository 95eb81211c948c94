package fleet

import (
	"context"
	"errors"

	"github.com/doppio-cache/doppio/tiered"
)

// kindOf names an error by the sentinels of the library, the most telling first.
func kindOf(err error) string {
	var load *tiered.LoadError
	switch {
	case errors.Is(err, errSpoilt):
		return "spoilt value"
	case errors.Is(err, tiered.ErrUnknownOutcome):
		return "unknown outcome"
	case errors.Is(err, tiered.ErrWriteRefused):
		return "write refused"
	case errors.Is(err, tiered.ErrRemoteUnavailable):
		return "remote unavailable"
	case errors.As(err, &load):
		return "load"
	case errors.Is(err, errSource):
		return "source"
	case errors.Is(err, context.DeadlineExceeded):
		return "deadline"
	case errors.Is(err, tiered.ErrClosed), errors.Is(err, context.Canceled):
		return "closed"
	default:
		return "other"
	}
}

var (
	errSpoilt = errors.New("fleet: the value is another key's, or spoilt")
	errSource = errors.New("fleet: source")
)
