package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// replyError is an error reply of a server.
type replyError string

func (e replyError) Error() string { return string(e) }
func (replyError) RedisError()     {}

func TestError_classifiesReplies(t *testing.T) {
	const script = " script: 0123abcd, on @user_script:12."
	for reply, want := range map[string]error{
		"LOADING Redis is loading the dataset in memory":                                                   ErrUnavailable,
		"CLUSTERDOWN Hash slot not served":                                                                 ErrUnavailable,
		"CLUSTERDOWN The cluster is down":                                                                  ErrUnavailable,
		"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.":                 ErrUnavailable,
		"TRYAGAIN Multiple keys request during rehashing of slot":                                          ErrUnavailable,
		"READONLY You can't write against a read only replica.":                                            ErrUnavailable,
		"MOVED 3999 127.0.0.1:6381":                                                                        ErrUnavailable,
		"ASK 3999 127.0.0.1:6381":                                                                          ErrUnavailable,
		"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE":            ErrUnavailable,
		"ERR max number of clients reached":                                                                ErrUnavailable,
		"ERR max number of clients + cluster connections reached":                                          ErrUnavailable,
		"OOM command not allowed when used memory > 'maxmemory'.":                                          ErrRefused,
		"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.": ErrRefused,
		"NOREPLICAS Not enough good replicas to write.":                                                    ErrRefused,
		"NOAUTH Authentication required.":                                                                  ErrDenied,
		"NOAUTH HELLO must be called with the client already authenticated":                                ErrDenied,
		"WRONGPASS invalid username-password pair or user is disabled.":                                    ErrDenied,
		"NOPERM this user has no permissions to run the 'evalsha' command":                                 ErrDenied,
		"ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?": ErrDenied,
		"ERR Client sent AUTH, but no password is set":                                                                                               ErrDenied,
		"ERR invalid password":                                                                                                                       ErrDenied,
		"WRONGTYPE Operation against a key holding the wrong kind of value":                                                                          ErrWrongType,
		"DOPPIO-NOTNUMERIC the entry is not an integer":                                                                                              ErrNotNumeric,
		"DOPPIO-OVERFLOW the sum does not fit":                                                                                                       ErrOverflow,
		"WRONGTYPE Operation against a key holding the wrong kind of value" + script:                                                                 ErrWrongType,
		"READONLY You can't write against a read only replica." + script:                                                                             ErrUnavailable,
		"OOM command not allowed when used memory > 'maxmemory'." + script:                                                                           ErrRefused,
		"ERR The user executing the script can't run this command or subcommand" + script:                                                            ErrDenied,
		"ERR ACL failure in script: User app has no permissions to run the 'publish' command" + script:                                               ErrDenied,
		"ERR Error running script (call to f_0123abcd): @user_script:12: WRONGTYPE Operation against a key holding the wrong kind of value":          ErrWrongType,
		"ERR Error running script (call to f_0123abcd): @user_script:12: @user_script: 12: -OOM command not allowed when used memory > 'maxmemory'.": ErrRefused,
		"ERR Error running script (call to f_0123abcd): @user_script:12: @user_script: 12: -READONLY You can't write against a read only replica.":   ErrUnavailable,
		"ERR Error running script (call to f_0123abcd): @user_script:12: @user_script: 12: -MISCONF Redis is configured to save RDB snapshots":       ErrRefused,
		"ERR Error running script (call to f_0123abcd): @user_script:12: The user executing the script can't run this command or subcommand":         ErrDenied,
		"ERR unknown command 'evalsha'":                                                                                                              nil,
		"ERR syntax error":                                                                                                                           nil,
		"OOMPH is no code of ours":                                                                                                                   nil,
		"CROSSSLOT Keys in request don't hash to the same slot":                                                                                      nil,
		"ERR Error compiling script (new function): user_script:1: x":                                                                                nil,
	} {
		for _, wrap := range []func(error) error{
			func(err error) error { return err },
			func(err error) error { return fmt.Errorf("by a hook: %w", err) },
		} {
			for _, write := range []bool{false, true} {
				err := classify("get", write, wrap(replyError(reply)))
				var e *Error
				if !errors.As(err, &e) || e.Op != "get" {
					t.Fatalf("%s: %T", reply, err)
				}
				if want == nil {
					wantErr(t, err, e)
				} else {
					wantErr(t, err, want)
				}
			}
		}
	}
}

func TestError_classifiesFailuresOfTheClient(t *testing.T) {
	dial := &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	read := &net.OpError{Op: "read", Net: "tcp", Err: errors.New("connection reset by peer")}
	for _, c := range []struct {
		name    string
		err     error
		unknown bool // for a write
	}{
		{"refused", dial, false},
		{"refused, wrapped", fmt.Errorf("dial: %w", dial), false},
		{"no such host", &net.DNSError{Err: "no such host", Name: "redis"}, false},
		{"pool timeout", redis.ErrPoolTimeout, false},
		{"pool exhausted", redis.ErrPoolExhausted, false},
		{"client closed", redis.ErrClosed, false},
		{"no sentinel", errors.New("redis: all sentinels specified in configuration are unreachable: x"), false},
		{"no node", errors.New("redis: cluster has no nodes"), false},
		{"reset", read, true},
		{"end of file", io.EOF, true},
		{"cut short", io.ErrUnexpectedEOF, true},
		{"anything else", errors.New("?"), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := classify("set", false, c.err)
			wantErr(t, err, ErrUnavailable)
			if !errors.Is(err, c.err) {
				t.Errorf("the cause is lost: %v", err)
			}
			want := []error{ErrUnavailable}
			if c.unknown {
				want = append(want, ErrUnknownOutcome)
			}
			err = classify("set", true, c.err)
			wantErr(t, err, want...)
			if again := classify("batch", true, err); again != err { //nolint:errorlint // the very same
				t.Errorf("classified twice: %v", again)
			}
			if !isOutage(err) {
				t.Error("the breaker does not hear of it")
			}
		})
	}
	wantErr(t, classify("get", false, nil))
	wantErr(t, classify("get", true, redis.Nil), ErrNotFound) // it satisfies redis.Error too
	wantErr(t, classify("get", true, fmt.Errorf("hook: %w", redis.Nil)), ErrNotFound)
}

func TestError_endOfACallersContextIsNoOutage(t *testing.T) {
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	for _, write := range []bool{false, true} {
		want := []error{context.Canceled}
		if write {
			want = append(want, ErrUnknownOutcome)
		}
		err := abandonedError(canceled, "set", write)
		wantErr(t, err, want...)
		if isOutage(err) {
			t.Error("the breaker hears of it")
		}
		want[0] = ErrUnavailable
		err = abandonedError(context.Background(), "set", write)
		wantErr(t, err, want...)
		if !isOutage(err) {
			t.Error("the breaker does not hear of a timeout")
		}
	}
}

// Redis and go-redis repeat in some messages the text that they were sent.
func TestError_messageRepeatsNothingThatWasSent(t *testing.T) {
	const secret = "hunter2"
	for _, cause := range []error{
		replyError("ERR unknown command 'EVALSHA', with args beginning with: 'sha' '1' '" + secret + "' "),
		replyError("ERR unknown command `get`, with args beginning with: `" + secret + "`, "),
		fmt.Errorf("redis: can't parse reply=%.100q reading string", secret),
		fmt.Errorf("redis: can't parse %.100q", secret),
		fmt.Errorf("redis: can't parse array/set/push reply: %.100q", secret),
		fmt.Errorf("redis: invalid reply: %q", secret),
	} {
		err := classify("get", true, cause)
		for _, text := range []string{err.Error(), fmt.Sprintf("%v", err), fmt.Sprintf("%+v", err), errors.Join(err, err).Error()} {
			if strings.Contains(text, secret) {
				t.Errorf("message %q", text)
			}
		}
		if !strings.HasPrefix(err.Error(), "remote: get: ") {
			t.Errorf("message %q", err)
		}
	}
}

func TestError_namesItsOperation(t *testing.T) {
	err := &Error{Op: "set", kinds: []error{ErrUnavailable, ErrUnknownOutcome}, Err: io.EOF}
	if got, want := err.Error(), "remote: set: remote unavailable: unknown outcome: EOF"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	wantErr(t, err, ErrUnavailable, ErrUnknownOutcome)
	if !errors.Is(err, io.EOF) {
		t.Error("the cause is lost")
	}
}

// The codes of our own scripts are no words for users.
func TestError_showsNoCodeOfAScript(t *testing.T) {
	t.Parallel()
	s, rdb := onShared(t)
	put(t, rdb, t.Name(), value("text"))
	_, err := increment(t.Context(), s, t.Name(), 1, nil, number(0), 0, nil)
	wantErr(t, err, ErrNotNumeric)
	if strings.Contains(err.Error(), "DOPPIO") {
		t.Errorf("%v", err)
	}
}

func TestPlain_namesNoStep(t *testing.T) {
	for err, want := range map[error]string{
		classify("floors", false, io.EOF):     "remote unavailable: EOF",
		classify("raise-floor", true, io.EOF): "remote unavailable: unknown outcome: EOF",
		classify("increment", true, replyError("DOPPIO-NOTNUMERIC the entry is not an integer")):                                                         "value is not an integer",
		classify("set", true, replyError("OOM command not allowed when used memory > 'maxmemory'. script: a7af09306c01, on @user_script:34.")):           "write refused: OOM command not allowed when used memory > 'maxmemory'",
		classify("set", true, replyError("ERR Error running script (call to f_0123abcd): @user_script:12: @user_script: 12: -OOM command not allowed.")): "write refused: OOM command not allowed.",
		classify("set", true, replyError("ERR oops script: a7af09306c01, on @user_script:34.")):                                                          "ERR oops script: a7af09306c01, on @user_script:34.",
		ErrNotFound: "doppio: not found",
	} {
		plain := WithoutOp(err)
		if got := plain.Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		for _, kind := range []error{ErrUnavailable, ErrUnknownOutcome, ErrNotNumeric, ErrRefused, ErrNotFound, io.EOF} {
			if errors.Is(plain, kind) != errors.Is(err, kind) {
				t.Errorf("%v matches %v: %t, and %t before", plain, kind, errors.Is(plain, kind), errors.Is(err, kind))
			}
		}
	}
}
