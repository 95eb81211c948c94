package redistest

import (
	"errors"
	"net"
	"testing"
)

// A stranger may take the port after it was found free: the start says so, and Start tries another.
func TestPort_thatIsTakenIsRecognized(t *testing.T) {
	t.Parallel()
	p, err := reservePort()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { free(t, p) })
	stranger, err := net.Listen("tcp4", p.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	s := &Server{Addr: p.addr(), host: t, cfg: newConfig(redisBinary, nil), port: p, dir: t.TempDir()}
	if err := s.writeConfig(); err != nil {
		t.Fatal(err)
	}
	if err := s.launch(); !errors.Is(err, errPortTaken) {
		t.Errorf("launch: %v, want %v", err, errPortTaken)
	}
}

func TestPort_reservedOnesDiffer(t *testing.T) {
	t.Parallel()
	seen := make(map[int]bool)
	for range 500 {
		p, err := reservePort()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { free(t, p) })
		if seen[p.number] {
			t.Fatalf("port %d is reserved twice", p.number)
		}
		seen[p.number] = true
		if p.number < firstPort || p.number+busOffset >= 32768 {
			t.Errorf("port %d, bus %d", p.number, p.number+busOffset)
		}
	}
}

func free(t *testing.T, p port) {
	t.Helper()
	if err := p.release(); err != nil {
		t.Error(err)
	}
}
