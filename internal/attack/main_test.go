//go:build linux

package attack

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

var (
	durationFlag = flag.Duration("attack.duration", 0, "how long each topology is attacked; 0: its default")
	seedFlag     = flag.Uint64("attack.seed", 0, "the seed of the schedule; 0: a new one")
	topologyFlag = flag.String("attack.topology", "", "the topologies to attack, separated by commas; empty: all")
	faultsFlag   = flag.String("attack.faults", "", "the faults to inject, separated by commas, or those to leave out, each after a minus; empty: all that the topology has")
	strictFlag   = flag.Bool("attack.strict", false, "what a server lost has to be made good for once it is back, and the fleet has had time to notice")
	keepFlag     = flag.Bool("attack.keep", false, "keep the logs of a run without violations, too")
	untilFlag    = flag.String("attack.until", "", "end a run when one of these promises, G1, G2 and G3, separated by commas, has been broken; looked for before each fault")
)

// workerEnv makes the test binary an instance.
const workerEnv = "DOPPIO_ATTACK_WORKER"

func TestMain(m *testing.M) {
	redis.SetLogger(quiet{})
	if os.Getenv(workerEnv) != "" {
		if err := runWorker(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// quiet keeps go-redis's complaints about what was broken on purpose out of the output.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}
