package redistest_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/doppio-cache/doppio/internal/redistest"
)

const orphanEnv = "REDISTEST_MAKE_AN_ORPHAN"

// A test process that is killed cleans nothing up: the kernel has to end its servers.
func TestStart_serversDieWithTheTestProcess(t *testing.T) {
	t.Parallel()
	if os.Getenv(orphanEnv) != "" {
		fmt.Println("addr", redistest.Start(t).Addr)
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		select {}
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), orphanEnv+"=1", "TMPDIR="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var addr string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if a, ok := strings.CutPrefix(lines.Text(), "addr "); ok {
			addr = a
		}
	}
	if err := cmd.Wait(); err == nil || addr == "" {
		t.Fatalf("the process ended with %v, its server was on %q", err, addr)
	}
	redistest.Eventually(t, patience, func() error {
		conn, err := net.DialTimeout("tcp4", addr, time.Second)
		if err != nil {
			return nil //nolint:nilerr // refused, as it should be
		}
		_ = conn.Close() // asked only whether it opens
		return fmt.Errorf("the server on %s outlives the process that started it", addr)
	})
}

// An interrupt of the terminal goes to the process group that started the server: it must not end
// the server.
func TestStart_serversHaveAGroupOfTheirOwn(t *testing.T) {
	t.Parallel()
	group, err := syscall.Getpgid(shared.PID())
	if err != nil || group != shared.PID() {
		t.Errorf("process %d is of group %d, %v", shared.PID(), group, err)
	}
}
