package redistest_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/doppio-cache/doppio/internal/redistest"
)

func TestOwner_reportsAFailureAndCleansUp(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	h := redistest.NewOwner(&log)
	if err := h.Do(func() { h.Fatalf("broken by %s", "intention") }); err == nil || err.Error() != "broken by intention" {
		t.Errorf("%v", err)
	}
	if err := h.Do(func() {}); err != nil {
		t.Errorf("the next call: %v", err)
	}
	dir := h.TempDir()
	if err := h.Close(); err != nil || !h.Failed() {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory is left: %v", err)
	}
	absent := redistest.NewOwner(&log)
	if err := absent.Do(func() { redistest.Start(absent, redistest.WithArgs("--no-such-option", "1")) }); err == nil {
		t.Error("a server that cannot start did")
	}
	if err := absent.Close(); err != nil {
		t.Error(err)
	}
}
