package tiered

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/remote"
)

// What calls report. All are found with errors.Is, from every method and through batches. The error
// that a method returns names it and its cache: see OpError.
var (
	// ErrNotFound: there is no such entry. A loader returns it to say that there is no such thing.
	// A loader's error that matches it says so only if nothing else failed: of joined errors each
	// one has to match it, and a panic never does. Else the load has failed, and its *LoadError
	// does not match ErrNotFound.
	ErrNotFound = remote.ErrNotFound
	// ErrClosed: the client was closed.
	ErrClosed = remote.ErrClosed
	// ErrNotNumeric: Increment met a value that is not an integer, or the cache's type cannot hold
	// one.
	ErrNotNumeric = remote.ErrNotNumeric
	// ErrOverflow: the sum does not fit into int64, or into the cache's type. The entry is
	// unchanged.
	ErrOverflow = remote.ErrOverflow
	// ErrRemoteUnavailable: Redis could not be asked. Without ErrUnknownOutcome beside it, nothing
	// was changed.
	ErrRemoteUnavailable = remote.ErrUnavailable
	// ErrUnknownOutcome: a change was sent and no reply came; it may or may not have happened.
	ErrUnknownOutcome = remote.ErrUnknownOutcome
	// ErrWriteRefused: Redis answers but refuses writes (out of memory, too few replicas, a failed
	// snapshot). Nothing was changed.
	ErrWriteRefused = remote.ErrRefused
	// ErrAccessDenied: Redis's credentials or ACL rules do not allow this.
	ErrAccessDenied = remote.ErrDenied
	// ErrWrongType: the key holds another Redis type, written by somebody else.
	ErrWrongType = remote.ErrWrongType
	// ErrInvalidOptions: an option is wrong. It is beside an *OptionError for each fault.
	ErrInvalidOptions = remote.ErrInvalidOptions
	// ErrInvalidKey: a key is empty or longer than MaxKeyBytes.
	ErrInvalidKey = errors.New("doppio: invalid key")
	// ErrValueTooLarge: an encoded value is over CacheOptions.MaxValueBytes.
	ErrValueTooLarge = errors.New("doppio: value too large")
	// ErrEncode is matched by every *EncodeError.
	ErrEncode = errors.New("doppio: value cannot be stored")
	// ErrTooManyLoads is returned, in a *LoadError, when the remote tier does not answer and
	// Options.MaxLoads loads ran for as long as this one could wait. It matches
	// ErrRemoteUnavailable.
	ErrTooManyLoads = fmt.Errorf("doppio: too many loads run without the remote tier: %w", ErrRemoteUnavailable)
	// ErrRecursiveLoad is returned, at once, by GetOrSet and within the *BatchError of
	// GetOrSetMany, when a loader asks with the context that it was given for the key that it is
	// loading, and there is no local copy: it would wait for itself. It is also returned when the
	// call is made within loads of other keys that the loader waits for. Loads of other keys may be
	// nested.
	ErrRecursiveLoad = errors.New("doppio: a loader asks for the key that it is loading")
	// ErrLoaderExited: a loader ended its goroutine with runtime.Goexit instead of returning.
	ErrLoaderExited = errors.New("doppio: loader called runtime.Goexit")
)

// OptionError reports one faulty option. It matches ErrInvalidOptions.
type OptionError = remote.OptionError

// DecodeError reports that what is stored under a key cannot be read as this cache's type: it was
// written by another type or codec, was cut short, or was not written by this library. Get returns
// it; GetOrSet loads anew and counts it.
type DecodeError struct {
	Key   string
	Codec string
	Err   error
}

func (e *DecodeError) Error() string {
	return fmt.Sprintf("doppio: value of key %q does not decode with codec %s: %v", e.Key, e.Codec, e.Err)
}

// Unwrap gives the cause.
func (e *DecodeError) Unwrap() error { return e.Err }

// EncodeError reports that a value cannot be stored: the codec refuses it, it is too large (then
// ErrValueTooLarge matches too), or what was encoded does not decode back. Nothing was sent, and
// what is stored under the key is as it was. It matches ErrEncode. Its text holds no part of the
// value.
type EncodeError struct {
	Cache string // the cache's name
	Key   string
	Type  string // the cache's type of values
	Codec string
	Err   error
}

func (e *EncodeError) Error() string {
	return fmt.Sprintf("doppio: cache %q: value of type %s for key %q cannot be stored with codec %s: %v", e.Cache, e.Type, e.Key, e.Codec, e.Err)
}

// Is makes every EncodeError match ErrEncode.
func (e *EncodeError) Is(target error) bool { return target == ErrEncode }

// Unwrap gives the cause.
func (e *EncodeError) Unwrap() error { return e.Err }

// LoadError reports that a loader failed: it wraps the loader's error, its panic (*PanicError),
// ErrLoaderExited, or context.DeadlineExceeded when HardTimeout passed.
type LoadError struct {
	Key string
	Err error
}

func (e *LoadError) Error() string {
	return fmt.Sprintf("doppio: load of key %q failed: %v", e.Key, e.Err)
}

// Unwrap gives the cause.
func (e *LoadError) Unwrap() error { return e.Err }

// PanicError is what becomes of a panic in code that is not this library's: a loader's reaches
// every waiting caller as an error, and one in a hook or dialer of the Redis client is the error of
// the call.
type PanicError = remote.PanicError

// BatchError reports which keys, or tags, of a batch failed, and why. The others succeeded.
type BatchError struct {
	Failed map[string]error
}

func (e *BatchError) Error() string {
	// One message for each kind of failure, so that an outage of 10,000 keys does not print 10,000
	// lines.
	count := make(map[string]int)
	for _, err := range e.Failed {
		count[unprefixed(err)]++
	}
	texts := make([]string, 0, len(count))
	for text, n := range count {
		texts = append(texts, fmt.Sprintf("%d× %s", n, text))
	}
	slices.Sort(texts)
	if more := len(texts) - 3; more > 0 {
		texts = append(texts[:3], fmt.Sprintf("and %d kinds more", more))
	}
	return fmt.Sprintf("doppio: %d of the batch failed: %s", len(e.Failed), strings.Join(texts, "; "))
}

// Unwrap gives the errors of all failed keys.
func (e *BatchError) Unwrap() []error {
	errs := make([]error, 0, len(e.Failed))
	for _, err := range e.Failed {
		errs = append(errs, err)
	}
	return errs
}

// failures collects what failed in a batch.
type failures map[string]error

func (f *failures) add(key string, err error) {
	if *f == nil {
		*f = make(failures)
	}
	(*f)[key] = err
}

func (f failures) err() error {
	if len(f) == 0 {
		return nil
	}
	return &BatchError{Failed: f}
}

// OpError names the method that failed, and its cache. It wraps the cause, and so matches what the
// cause matches. Its text holds no key and no value.
//
// Methods return ErrNotFound as it is, and *OptionError, *DecodeError, *EncodeError, *LoadError and
// *BatchError, too: they say what happened by themselves. What a *BatchError says of a key is an
// *OpError.
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

// logInterval is how often a cache logs failures of one kind at most: an outage fails every call,
// and must not fill a disk.
const logInterval = 10 * time.Second

// failureLog logs failures of a cache that no caller sees. Of each message and kind of error it
// writes one line in logInterval, with the number of failures that were left out since the line
// before.
type failureLog struct {
	log *slog.Logger

	mu    sync.Mutex
	kinds map[failureKind]*repeated // guarded by mu; as many as there are messages and kinds
}

// failureKind is what makes failures alike. It holds nothing of the error's text, which may differ
// each time.
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

// take counts a failure, and reports whether a line is due, and how many failures were left out
// since the last one.
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
