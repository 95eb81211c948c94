package compare

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestPatterns(t *testing.T) {
	allowed := []uint32{}
	for i := range uint32(2000) {
		if i%10 != 3 {
			allowed = append(allowed, i)
		}
	}
	for _, kind := range []string{zipf, uniform, hot} {
		seq := pattern(kind, allowed, 100, 1)
		if !slices.Equal(seq, pattern(kind, allowed, 100, 1)) {
			t.Errorf("%s: not the same again", kind)
		}
		if slices.Equal(seq, pattern(kind, allowed, 100, 2)) {
			t.Errorf("%s: the seed changes nothing", kind)
		}
		seen := make(map[uint32]int)
		for _, i := range seq {
			seen[i]++
			if i%10 == 3 {
				t.Fatalf("%s: key %d is not allowed", kind, i)
			}
		}
		switch {
		case kind == hot && len(seen) != 100:
			t.Errorf("%d hot keys", len(seen))
		case kind == zipf && seen[0] < 10*seen[allowed[100]]:
			t.Errorf("zipf: the first key is read %d times, the hundredth %d", seen[0], seen[allowed[100]])
		case kind == uniform && len(seen) < len(allowed)*9/10:
			t.Errorf("uniform: %d of %d keys", len(seen), len(allowed))
		}
	}
}

func TestUniformReadsNearlyAllKeys(t *testing.T) {
	seen := make(map[uint32]bool)
	for _, i := range pattern(uniform, allOf(fullSizes.keys), 0, 1) {
		seen[i] = true
	}
	if len(seen) < fullSizes.keys*9/10 {
		t.Errorf("%d of %d keys", len(seen), fullSizes.keys)
	}
}

func TestMonitorHasToBegin(t *testing.T) {
	for reply, want := range map[string]error{
		"+OK\r\n":                nil,
		"-NOPERM no monitor\r\n": errNoMonitor,
		"":                       os.ErrDeadlineExceeded, // it never answers
	} {
		ours, theirs := net.Pipe()
		var server sync.WaitGroup
		server.Go(func() {
			_, _ = theirs.Read(make([]byte, 64))
			_, _ = theirs.Write([]byte(reply))
		})
		if err := beginMonitor(ours, bufio.NewReader(ours), 50*time.Millisecond); !errors.Is(err, want) {
			t.Errorf("%q: err = %v, want %v", reply, err, want)
		}
		_, _ = ours.Close(), theirs.Close()
		server.Wait()
	}
}

func TestMonitor(t *testing.T) {
	const text = `+1.0 [0 127.0.0.1:2] "get" "run-0002:before the first mark"
+1.0 [0 127.0.0.1:1] "get" "run-0001:before the first mark"
+1.1 [0 127.0.0.1:9] "echo" "begin"
+1.1 [0 lua] "time"
+1.1 [0 127.0.0.1:1] "evalsha" "x" "1" "run-0001:k"
+1.2 [0 lua] "get" "run-0001:k"
+1.2 [0 lua] "time"
+1.3 [0 127.0.0.1:2] "evalsha" "x" "1" "run-0002:k"
+1.3 [0 lua] "time"
+1.4 [0 127.0.0.1:1] "multi"
+1.4 [0 127.0.0.1:1] "get" "[0 lua]"
+1.4 [0 127.0.0.1:9] "info" "all"
+1.5 [0 127.0.0.1:9] "echo" "end"
+1.6 [0 127.0.0.1:1] "get" "late"
`
	read := func(begin, end string) monitored {
		return readMonitor(bufio.NewReader(strings.NewReader(text)), begin, end, "run", "run-0001")
	}
	if m := read("begin", "end"); m.err != nil || m.sent != 3 || m.scripted != 2 {
		t.Errorf("%+v", m)
	}
	if m := read("begin", "absent"); m.err == nil {
		t.Error("the end of the lines is no error")
	}
}

func TestEach(t *testing.T) {
	var sum atomic.Int64
	if err := each(t.Context(), 4, 100, func(i int) error { sum.Add(int64(i)); return nil }); err != nil || sum.Load() != 4950 {
		t.Errorf("%d, %v", sum.Load(), err)
	}
	boom := errors.New("boom")
	if err := each(t.Context(), 4, 100, func(int) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("err = %v", err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := each(ended, 4, 100, func(int) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
}

func TestWrongOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"Rounds":   {Rounds: -1},
		"Slice":    {Slice: 1},
		"Only":     {Only: []string{"brew"}},
		"Subjects": {Subjects: []string{"doppio", "memcached"}},
		"Redis":    {Redis: "redis://:hush@localhost:1/0"},
	} {
		_, err := Run(t.Context(), o)
		if !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: err = %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "hush") {
			t.Errorf("the error shows a password: %v", err)
		}
	}
}
