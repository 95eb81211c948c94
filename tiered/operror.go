package tiered

import (
	"errors"
	"strconv"
	"strings"

	"github.com/doppio-cache/doppio/remote"
)

// OpError names the method that failed, and its cache. It wraps the cause, and so matches what the cause matches. Its
// text holds no key and no value.
//
// Methods return ErrNotFound as it is, and *OptionError, *DecodeError, *EncodeError, *LoadError and *BatchError, too:
// they say what happened by themselves. What a *BatchError says of a key is an *OpError.
type OpError struct {
	Op    string // the method's name: Get, SetMany, …
	Cache string // the cache's name; empty for a method of Client
	Err   error
}

func (e *OpError) Error() string {
	var b strings.Builder
	b.WriteString("doppio: ")
	b.WriteString(e.Op)
	if e.Cache != "" {
		b.WriteString(" of cache ")
		b.WriteString(strconv.Quote(e.Cache))
	}
	b.WriteString(": ")
	b.WriteString(unprefixed(e.Err))
	return b.String()
}

// Unwrap gives the cause.
func (e *OpError) Unwrap() error { return e.Err }

// unprefixed gives an error's text to be put behind a text that names the library.
func unprefixed(err error) string { return strings.TrimPrefix(err.Error(), "doppio: ") }

// fault gives an error of a method as the method's caller gets it: with the method and the cache in
// the place of the step that failed.
func (s *shared[V]) fault(op string, err error) error {
	if err == nil {
		return nil
	}
	return faultOf(op, s.name, err)
}

func faultOf(op, cache string, err error) error {
	switch e := err.(type) { //nolint:errorlint // what stands behind another cause is part of that
	case *BatchError:
		for key, err := range e.Failed {
			e.Failed[key] = faultOf(op, cache, err)
		}
		return e
	case *OpError, *OptionError, *DecodeError, *EncodeError, *LoadError:
		return err
	}
	if err == ErrNotFound { //nolint:errorlint // likewise
		return err
	}
	if errors.Is(err, ErrInvalidOptions) && !errors.Is(err, ErrRemoteUnavailable) {
		return err // several faults of one call's options
	}
	return &OpError{Op: op, Cache: cache, Err: remote.WithoutOp(err)}
}
