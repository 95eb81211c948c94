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

// What a call can report. All are found with errors.Is, through *Error and through batches.
var (
	// ErrNotFound: Redis answered, and holds no such entry.
	ErrNotFound = errors.New("doppio: not found")
	// ErrUnavailable: Redis could not be asked, or said that it cannot answer now (loading, cluster down, a
	// replica that does not accept writes). Unless ErrUnknownOutcome is matched too, nothing was changed.
	ErrUnavailable = errors.New("doppio: remote unavailable")
	// ErrUnknownOutcome: a change was sent and no reply came; it may or may not have happened. On a Cluster it may also have
	// happened without being announced.
	ErrUnknownOutcome = errors.New("doppio: unknown outcome")
	// ErrRefused: Redis answers but refuses writes (out of memory, too few replicas, a failed snapshot). Nothing was changed.
	ErrRefused = errors.New("doppio: write refused")
	// ErrDenied: credentials or ACL rules do not allow this. It is a matter of configuration and is not retried.
	ErrDenied = errors.New("doppio: access denied")
	// ErrWrongType: the key holds another Redis type, written by somebody else.
	ErrWrongType = errors.New("doppio: key holds another type")
	// ErrNotNumeric: the entry is not an integer.
	ErrNotNumeric = errors.New("doppio: value is not an integer")
	// ErrOverflow: the sum does not fit. Nothing was changed.
	ErrOverflow = errors.New("doppio: increment overflows")
	// ErrTagged: the entry has tags that must be asked for first. Nothing was changed.
	ErrTagged = errors.New("doppio: the entry has tags")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("doppio: closed")
	// ErrMalformed: what the key holds is not a record, is cut short, or was written for another key.
	ErrMalformed = errors.New("doppio: malformed record")
	// ErrTooLarge: a key, a tag or a payload over what a record can hold.
	ErrTooLarge = errors.New("doppio: too large for a record")
	// ErrInvalidOptions: an option is wrong. Every *OptionError matches it.
	ErrInvalidOptions = errors.New("doppio: invalid options")
)

// Error says which operation failed and why. Its message holds no key, no value and no credential.
type Error struct {
	Op  string // the operation: get, set, increment, …; empty where the caller names its own: see Plain
	Err error  // what go-redis or the context reported
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
		text := withoutEcho(e.Err.Error())
		if len(e.kinds) > 0 { // else where it was met is all that is known
			text = withoutTrace(text)
		}
		parts = append(parts, strings.TrimPrefix(text, "doppio: "))
	}
	return strings.Join(parts, ": ")
}

// echoes mark where a message begins to repeat what it was sent: Redis names the arguments of a command that it does
// not know, and go-redis quotes a reply that it does not understand. Either may be a key, a value or a password.
var echoes = []string{", with args beginning with", "can't parse", "invalid reply", "expected digit"}

func withoutEcho(text string) string {
	for _, e := range echoes {
		if i := strings.Index(text, e); i >= 0 {
			return text[:i] + strings.TrimPrefix(e, ", ") + " (withheld)"
		}
	}
	return text
}

// traces are what Redis puts before and behind the error of a command that a script has called:
// which script, and where.
var (
	traceBefore = regexp.MustCompile(`^ERR Error (running|compiling) script .*user_script: ?\d+: -?`) // Redis 6
	traceBehind = regexp.MustCompile(`\.? script: [0-9a-f]+, on @user_script:\d+\.?$`)
)

func withoutTrace(text string) string {
	return traceBehind.ReplaceAllString(traceBefore.ReplaceAllString(text, ""), "")
}

// Unwrap gives the sentinels first, then the cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return e.kinds
	}
	return append(e.kinds[:len(e.kinds):len(e.kinds)], e.Err)
}

// MalformedError reports what is not a record, or not the record of its key. It matches ErrMalformed.
type MalformedError struct {
	Reason string
	// Seen are the bytes where a record has its token: a Fill that is given them replaces what was seen, and nothing else.
	Seen []byte
}

func (e *MalformedError) Error() string { return ErrMalformed.Error() + ": " + e.Reason }

// Unwrap makes every MalformedError match ErrMalformed.
func (e *MalformedError) Unwrap() error { return ErrMalformed }

// OptionError reports one faulty option. It matches ErrInvalidOptions.
type OptionError struct {
	Field  string // as in the struct or the option's name; "rdb" is the Redis client
	Reason string // what is wrong, with the limit; never a secret
}

func (e *OptionError) Error() string { return "doppio: option " + e.Field + ": " + e.Reason }

// Is makes every OptionError match ErrInvalidOptions.
func (e *OptionError) Is(target error) bool { return target == ErrInvalidOptions }

// PanicError is what becomes of a panic in code that is not this library's: a loader, a codec, a
// hook or a dialer of the Redis client.
type PanicError struct {
	Value any
	Stack []byte // of the goroutine that panicked
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap gives the panic's value when that is an error, but none that matches ErrNotFound: a panic
// says nothing about what there is.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// errTimeout is the cause when Options.Timeout ended a call before its context did.
var errTimeout = errors.New("no reply within the timeout")

// replyCodes maps the code that begins an error reply to what it means. A reply with any of these codes says that the
// command was not carried out.
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
	{"unauthenticated multibulk length", ErrDenied}, // more arguments than a stranger may send
	{"no password is set", ErrDenied},               // Redis 5
	{"invalid password", ErrDenied},                 // Redis 5
}

// classify is the one place that decides what an error of go-redis means. write says whether the command could have
// changed something; a lost reply to a read is only an outage.
func classify(op string, write bool, err error) error {
	if err == nil {
		return nil
	}
	// redis.Nil satisfies redis.Error too, so it is looked at first.
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

// unusable says why the servers behind the client must not be asked for anything, or their answer
// not be used. changed says whether something may have been changed, unless the server is one that
// changes nothing.
func unusable(op string, changed bool, err error) error {
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
			return replied(op, reply, c.code, c.kind)
		}
	}
	for _, p := range replyPhrases {
		if strings.Contains(text, p.phrase) {
			return &Error{Op: op, Err: reply, kinds: []error{p.kind}}
		}
	}
	// Redis 6 wraps what a script's command reported: "ERR Error running script (…): @user_script:3: WRONGTYPE …".
	// So does miniredis, in its own words: "ERR Error compiling script (new function): :41: WRONGTYPE …".
	if strings.HasPrefix(text, "ERR ") && (strings.Contains(text, "user_script") || strings.Contains(text, "compiling script")) {
		for _, c := range replyCodes {
			if strings.Contains(text, c.code+" ") {
				return replied(op, reply, c.code, c.kind)
			}
		}
	}
	return &Error{Op: op, Err: reply}
}

// replied is the error for a reply with a code. A code of our own scripts says no more than its kind, and is not shown.
func replied(op string, reply error, code string, kind error) error {
	if strings.HasPrefix(code, "DOPPIO-") {
		reply = nil
	}
	return &Error{Op: op, Err: reply, kinds: []error{kind}}
}

// mayHaveArrived tells whether a command that failed without a reply could have reached the server.
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
	// Sentinel and Cluster clients report that they found nobody to ask with plain errors of their own.
	for _, nobody := range []string{"all sentinels specified in configuration are unreachable", "cluster has no nodes", "redis: client is closed"} {
		if strings.Contains(err.Error(), nobody) {
			return false
		}
	}
	return true
}

// abandoned is what a caller gets that stopped waiting.
func abandoned(ctx context.Context, op string, write bool) error {
	cause := ctx.Err()
	if cause == nil {
		return timedOut(op, write)
	}
	e := &Error{Op: op, Err: cause}
	if write {
		e.kinds = append(e.kinds, ErrUnknownOutcome)
	}
	return e
}

// unknown is what a caller gets when a change was made, or may have been, and what should have followed failed with err.
func unknown(op string, err error) error {
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

func timedOut(op string, write bool) error {
	e := &Error{Op: op, Err: errTimeout, kinds: []error{ErrUnavailable}}
	if write {
		e.kinds = append(e.kinds, ErrUnknownOutcome)
	}
	return e
}

// errLate: the server found that a change came after its deadline, and did not make it. That is no outage.
var errLate = fmt.Errorf("doppio: too late: %w", ErrUnavailable)

// isOutage tells the breaker which errors speak against the server. A reply, even an error, speaks for it.
// The wrong server is none either: it answers.
func isOutage(err error) bool {
	return errors.Is(err, ErrUnavailable) && !errors.Is(err, errLate) && !errors.Is(err, ErrInvalidOptions)
}
