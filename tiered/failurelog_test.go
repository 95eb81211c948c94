package tiered

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// An outage in which every call fails writes a line in each interval, which counts the others.
// Another kind has its own.
func TestLogger_getsOneLineForAKindOfFailureInAnInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := failureLog{log: slog.New(slog.NewTextHandler(&out, nil))}
		lines := func() []string {
			t.Helper()
			all := strings.Split(strings.TrimSpace(out.String()), "\n")
			out.Reset()
			return all
		}
		const message = "doppio: a step failed"
		for i := range 10_000 {
			l.warn(t.Context(), message, "c", fmt.Errorf("call %d: %w", i, ErrRemoteUnavailable))
		}
		if got := lines(); len(got) != 1 || !strings.Contains(got[0], "left_out=0") || !strings.Contains(got[0], "call 0") {
			t.Errorf("10,000 failures of one kind wrote %q", got)
		}
		l.warn(t.Context(), message, "c", errors.Join(ErrUnknownOutcome, ErrRemoteUnavailable))
		l.warn(t.Context(), "doppio: another step failed", "c", ErrRemoteUnavailable)
		if got := lines(); len(got) != 2 {
			t.Errorf("another kind and another message wrote %q", got)
		}
		time.Sleep(logInterval)
		l.warn(context.WithoutCancel(t.Context()), message, "c", ErrRemoteUnavailable)
		if got := lines(); len(got) != 1 || !strings.Contains(got[0], "left_out=9999") {
			t.Errorf("after the interval: %q", got)
		}
	})
}
