package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/topology"
)

// The errors of a call. errors.Is finds each of them, through *Error and through batches.
var (
	// ErrNotFound is returned when Redis answered, and has no such entry.
	ErrNotFound = errors.New("doppio: not found")
	// ErrUnavailable is returned when Redis could not be asked, or replied that it cannot answer
	// now (loading, cluster down, a replica that does not accept writes). Unless the error matches
	// ErrUnknownOutcome too, nothing was changed.
	ErrUnavailable = errors.New("doppio: remote unavailable")
	// ErrUnknownOutcome is returned when a change was sent and no reply came: it was made or not.
	// On a Cluster it is also returned for a change that was made and may not have been announced.
	ErrUnknownOutcome = errors.New("doppio: unknown outcome")
	// ErrRefused is returned when Redis answers but refuses writes (out of memory, too few
	// replicas, a failed snapshot). Nothing was changed.
	ErrRefused = errors.New("doppio: write refused")
	// ErrDenied is returned when credentials or ACL rules do not allow the operation. It is an
	// error of configuration and is not retried.
	ErrDenied = errors.New("doppio: access denied")
	// ErrWrongType is returned when the key has another Redis type, which another program has
	// written.
	ErrWrongType = errors.New("doppio: key holds another type")
	// ErrNotNumeric is returned when the entry to increment is not an integer.
	ErrNotNumeric = errors.New("doppio: value is not an integer")
	// ErrOverflow is returned when the sum is out of bounds. Nothing was changed.
	ErrOverflow = errors.New("doppio: increment overflows")
	// ErrTagged is returned when the entry to increment has tags that must be checked first.
	// Nothing was changed.
	ErrTagged = errors.New("doppio: the entry has tags")
	// ErrClosed is returned after Close was called.
	ErrClosed = errors.New("doppio: closed")
	// ErrMalformed is returned when the value of the key is no record, is cut short, or was written
	// for another key.
	ErrMalformed = errors.New("doppio: malformed record")
	// ErrTooLarge is returned when a key, a tag or a payload does not fit into a record.
	ErrTooLarge = errors.New("doppio: too large for a record")
	// ErrInvalidOptions is returned when an option is invalid. Every *OptionError matches it.
	ErrInvalidOptions = errors.New("doppio: invalid options")
)

// Error says which operation failed and why. Its message has no key, no value and no credential.
type Error struct {
	Op  string // the operation: get, set, increment, …; empty for an error of WithoutOp
	Err error  // the error of go-redis or of the context
	// kinds are the sentinels that this error matches.
	kinds []error
}

func (e *Error) Error() string {
	var parts []string
	if e.Op != "" {
		parts = append(parts, "remote: "+e.Op)
	}
	for _, k := range e.kinds {
		parts = append(parts, strings.TrimPrefix(k.Error(), "doppio: "))
	}
	if e.Err != nil {
		text := withoutQuotedArgs(e.Err.Error())
		if len(e.kinds) > 0 { // without a kind the position may be all that is known
			text = withoutTrace(text)
		}
		parts = append(parts, strings.TrimPrefix(text, "doppio: "))
	}
	return strings.Join(parts, ": ")
}

// quotedArgs are the phrases with which an error begins to repeat what was sent: Redis quotes the
// arguments of an unknown command, and go-redis quotes a reply that it does not understand. Either
// may be a key, a value or a password.
var quotedArgs = []string{", with args beginning with", "can't parse", "invalid reply", "expected digit"}

func withoutQuotedArgs(text string) string {
	for _, e := range quotedArgs {
		if i := strings.Index(text, e); i >= 0 {
			return text[:i] + strings.TrimPrefix(e, ", ") + " (withheld)"
		}
	}
	return text
}

// These match what Redis adds to the error of a command in a script: which script, and where.
var (
	traceBefore = regexp.MustCompile(`^ERR Error (running|compiling) script .*user_script: ?\d+: -?`) // Redis 6
	traceBehind = regexp.MustCompile(`\.? script: [0-9a-f]+, on @user_script:\d+\.?$`)
)

func withoutTrace(text string) string {
	return traceBehind.ReplaceAllString(traceBefore.ReplaceAllString(text, ""), "")
}

// Unwrap returns the sentinels and then the cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return e.kinds
	}
	return append(e.kinds[:len(e.kinds):len(e.kinds)], e.Err)
}

// WithoutOp returns err without the name of this package's operation, for a caller whose own
// operation has several steps. It matches what err matches.
func WithoutOp(err error) error {
	e, ok := err.(*Error) //nolint:errorlint // an error that wraps an *Error has a text of its own
	if !ok || e.Op == "" {
		return err
	}
	return &Error{Err: e.Err, kinds: e.kinds}
}

// MalformedError reports a value that is not a record, or not the record of its key. It matches
// ErrMalformed.
type MalformedError struct {
	Reason string
	// Seen holds the bytes in the place of a record's token: a Fill with them replaces this value,
	// and no other.
	Seen []byte
}

func (e *MalformedError) Error() string { return ErrMalformed.Error() + ": " + e.Reason }

// Unwrap returns ErrMalformed.
func (e *MalformedError) Unwrap() error { return ErrMalformed }

// OptionError reports one faulty option. It matches ErrInvalidOptions.
type OptionError struct {
	Field  string // as in the struct or the option's name; "rdb" is the Redis client
	Reason string // why it is invalid, with the limit; never a secret
}

func (e *OptionError) Error() string { return "doppio: option " + e.Field + ": " + e.Reason }

// Is reports whether target is ErrInvalidOptions.
func (e *OptionError) Is(target error) bool { return target == ErrInvalidOptions }

// PanicError is the error of a panic in code that is not this library's: a loader, a codec, a hook
// or a dialer of the Redis client.
type PanicError struct {
	Value any
	Stack []byte // of the goroutine that panicked
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap returns the value of the panic if that is an error. It returns nil for one that matches
// ErrNotFound: a panic does not say that there is no entry.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// errTimeout is the cause of an error when Options.Timeout ended a call before its context did.
var errTimeout = errors.New("no reply within the timeout")

// replyCodes maps the code of an error reply to its meaning. A reply with any of these codes says
// that the command was not carried out.
var replyCodes = []struct {
	code string
	kind error
}{
	{"LOADING", ErrUnavailable},
	{"CLUSTERDOWN", ErrUnavailable},
	{"MASTERDOWN", ErrUnavailable},
	{"TRYAGAIN", ErrUnavailable},
	{"READONLY", ErrUnavailable},
	{"MOVED", ErrUnavailable},
	{"ASK", ErrUnavailable},
	{"BUSY", ErrUnavailable},
	{"OOM", ErrRefused},
	{"MISCONF", ErrRefused},
	{"NOREPLICAS", ErrRefused},
	{"NOAUTH", ErrDenied},
	{"WRONGPASS", ErrDenied},
	{"NOPERM", ErrDenied},
	{"WRONGTYPE", ErrWrongType},
	{"DOPPIO-NOTNUMERIC", ErrNotNumeric},
	{"DOPPIO-OVERFLOW", ErrOverflow},
	{"DOPPIO-TAGGED", ErrTagged},
	{"DOPPIO-LATE", errLate},
}

// replyPhrases do the same for replies that have no code but ERR.
var replyPhrases = []struct {
	phrase string
	kind   error
}{
	{"max number of clients", ErrUnavailable},
	{"The user executing the script", ErrDenied}, // Redis 7.0 and before: a command inside a script
	{"ACL failure in script", ErrDenied},         // later
	{"without any password configured", ErrDenied},
	{"unauthenticated multibulk length", ErrDenied}, // more arguments than are allowed before AUTH
	{"no password is set", ErrDenied},               // Redis 5
	{"invalid password", ErrDenied},                 // Redis 5
}

// classify is the one place that decides what an error of go-redis means. write says whether the
// command could have changed something; a lost reply to a read is only an outage.
func classify(op string, write bool, err error) error {
	if err == nil {
		return nil
	}
	// redis.Nil implements redis.Error too, so it is checked first.
	if errors.Is(err, redis.Nil) {
		return ErrNotFound
	}
	var already *Error
	if errors.As(err, &already) || errors.Is(err, ErrNotFound) || errors.Is(err, ErrClosed) {
		return err
	}
	var reply redis.Error
	if errors.As(err, &reply) {
		return classifyReply(op, reply)
	}
	kinds := []error{ErrUnavailable}
	if write && mayHaveArrived(err) {
		kinds = append(kinds, ErrUnknownOutcome)
	}
	return &Error{Op: op, Err: err, kinds: kinds}
}

// clientUnusable returns the error for servers that must not be asked, or whose reply must not be
// used. changed says whether something may have been changed, unless the server is one that changes
// nothing.
func clientUnusable(op string, changed bool, err error) error {
	var refused *topology.RefusedError
	if errors.As(err, &refused) {
		return &Error{Op: op, Err: clientFault(refused), kinds: []error{ErrUnavailable}}
	}
	if replica := (*topology.NotMasterError)(nil); errors.As(err, &replica) {
		if replica.Never {
			return &Error{Op: op, Err: &OptionError{Field: "rdb", Reason: topology.NotMasterReason}, kinds: []error{ErrUnavailable}}
		}
		return classify(op, false, replica.Err)
	}
	return classify(op, changed, err)
}

func classifyReply(op string, reply redis.Error) error {
	text := reply.Error()
	for _, c := range replyCodes {
		if strings.HasPrefix(text, c.code+" ") {
			return errorOfReply(op, reply, c.code, c.kind)
		}
	}
	for _, p := range replyPhrases {
		if strings.Contains(text, p.phrase) {
			return &Error{Op: op, Err: reply, kinds: []error{p.kind}}
		}
	}
	// Redis 6 wraps the error of a command in a script: "ERR Error running script (…):
	// @user_script:3: WRONGTYPE …". miniredis does so, too: "ERR Error compiling script (new
	// function): :41: WRONGTYPE …".
	if strings.HasPrefix(text, "ERR ") && (strings.Contains(text, "user_script") || strings.Contains(text, "compiling script")) {
		for _, c := range replyCodes {
			if strings.Contains(text, c.code+" ") {
				return errorOfReply(op, reply, c.code, c.kind)
			}
		}
	}
	return &Error{Op: op, Err: reply}
}

// errorOfReply returns the error for a reply with a code. A code of our own scripts says no more
// than its kind, and is not shown.
func errorOfReply(op string, reply error, code string, kind error) error {
	if strings.HasPrefix(code, "DOPPIO-") {
		reply = nil
	}
	return &Error{Op: op, Err: reply, kinds: []error{kind}}
}

// mayHaveArrived reports whether a command that failed without a reply could have reached the
// server.
func mayHaveArrived(err error) bool {
	if errors.Is(err, redis.ErrClosed) || errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, redis.ErrPoolExhausted) {
		return false
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return false
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return false
	}
	// Sentinel and Cluster clients report with plain errors that they found no server to ask.
	for _, text := range []string{
		"all sentinels specified in configuration are unreachable", "cluster has no nodes", "redis: client is closed",
	} {
		if strings.Contains(err.Error(), text) {
			return false
		}
	}
	return true
}

// abandonedError returns the error of a caller that stopped waiting.
func abandonedError(ctx context.Context, op string, write bool) error {
	cause := ctx.Err()
	if cause == nil {
		return timeoutError(op, write)
	}
	e := &Error{Op: op, Err: cause}
	if write {
		e.kinds = append(e.kinds, ErrUnknownOutcome)
	}
	return e
}

// unknownOutcome returns the error of a change that was made, or may have been, when a later step
// failed with err.
func unknownOutcome(op string, err error) error {
	err = classify(op, true, err)
	if errors.Is(err, ErrUnknownOutcome) {
		return err
	}
	e := &Error{Op: op, Err: err, kinds: []error{ErrUnknownOutcome}}
	var cause *Error
	if errors.As(err, &cause) {
		e.Err, e.kinds = cause.Err, append(cause.kinds[:len(cause.kinds):len(cause.kinds)], ErrUnknownOutcome)
	}
	return e
}

func timeoutError(op string, write bool) error {
	e := &Error{Op: op, Err: errTimeout, kinds: []error{ErrUnavailable}}
	if write {
		e.kinds = append(e.kinds, ErrUnknownOutcome)
	}
	return e
}

// errLate is the error of a change that the server refused since it came after its deadline. It is
// no outage.
var errLate = fmt.Errorf("doppio: too late: %w", ErrUnavailable)

// isOutage reports whether an error counts as a failure of the server. A reply, even an error, does
// not. The wrong server does not either: it answers.
func isOutage(err error) bool {
	return errors.Is(err, ErrUnavailable) && !errors.Is(err, errLate) && !errors.Is(err, ErrInvalidOptions)
}
