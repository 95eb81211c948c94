package demo

import (
	"context"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/doppio-cache/doppio/bench/internal/fleet"
)

// The test binary is an instance, too.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == fleet.InstanceCommand {
		if err := fleet.RunInstance(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}
