package history

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

// every is one line of each form.
var every = []Op{
	{Kind: Commit, Start: 1, End: 1, Key: 2, Version: 3},
	{Kind: Begin, Start: 1, End: 1, Change: 9, Key: 2, Version: 3, Method: Delete},
	{Kind: Begin, Start: 1, End: 1, Change: 10, Key: 2, Version: 3, Method: Set},
	{Kind: Acked, Start: 5, End: 5, Change: 9},
	{Kind: Failed, Start: 5, End: 5, Change: 9},
	{Kind: Unknown, Start: 5, End: 5, Change: 9},
	{Kind: Read, Start: 5, End: 6, Key: 2, Tier: Local, Result: Value, Version: 7},
	{Kind: Read, Start: 5, End: 5, Key: 2, Tier: Remote, Result: Nothing},
	{Kind: Read, Start: 5, End: 6, Key: 2, Tier: Load, Result: Error},
	{Kind: Read, Start: 5, End: 6, Key: 2, Tier: Old, Result: Foreign},
	{Kind: Poll, Start: 5, End: 6, Key: 4294967295, Result: Value, Version: 18446744073709551615},
	{Kind: Poll, Start: 0, End: 9223372036854775807, Key: 2, Result: Nothing},
	{Kind: Gone, Start: 8, End: 8, Instance: "i7"},
}

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	name := filepath.Join(t.TempDir(), "i1.log")
	w, err := Create(name, "i1", 3*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range every {
		w.Add(o)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	logs, err := ReadDir(filepath.Dir(name))
	if err != nil {
		t.Fatal(err)
	}
	if want := (&Log{Instance: "i1", Bound: 3 * time.Second, Ops: every}); !reflect.DeepEqual(logs[0], want) {
		t.Errorf("got  %+v\nwant %+v", logs[0], want)
	}
	if _, err := Create(name, "i1", 0); err == nil {
		t.Error("a log is overwritten")
	}
	second := filepath.Join(filepath.Dir(name), "parent.log")
	if err := errors.Join(os.WriteFile(second, []byte("h parent 0\n"), 0o600), os.WriteFile(name+".err", []byte("no log"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if logs, err = ReadDir(filepath.Dir(name)); err != nil || len(logs) != 2 || logs[1].Instance != "parent" {
		t.Errorf("%d logs, %v; want those of i1 and parent", len(logs), err)
	}
	if err := os.WriteFile(second, []byte("brew\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadDir(filepath.Dir(name)); !errors.Is(err, errLine) || !strings.Contains(err.Error(), second) {
		t.Errorf("what is no log: %v", err)
	}
}

// A process may be killed after any byte.
func TestALogMayEndAnywhere(t *testing.T) {
	whole := []byte("h i1 0\n")
	ends := []int{len(whole)}
	for _, o := range every {
		whole = o.Append(whole)
		ends = append(ends, len(whole))
	}
	for n := range whole {
		complete := 0
		for _, end := range ends {
			if end <= n {
				complete++
			}
		}
		l, err := ReadLog(strings.NewReader(string(whole[:n])))
		if err != nil {
			t.Fatalf("%q: %v", whole[:n], err)
		}
		if len(l.Ops) != max(0, complete-1) || l.Torn != (n > 0 && whole[n-1] != '\n') {
			t.Fatalf("%q: %d operations, torn %v", whole[:n], len(l.Ops), l.Torn)
		}
	}
}

func TestChangesAreInTheFileAtOnce(t *testing.T) {
	name := filepath.Join(t.TempDir(), "i1.log")
	w, err := Create(name, "i1", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	ops := func() int {
		logs, err := ReadDir(filepath.Dir(name))
		if err != nil {
			t.Fatal(err)
		}
		return len(logs[0].Ops)
	}
	w.Add(Op{Kind: Read, Tier: Local, Result: Nothing})
	if n := ops(); n != 0 {
		t.Errorf("a read is written by itself: %d operations", n)
	}
	w.Add(Op{Kind: Begin, Version: 1, Method: Set})
	if n := ops(); n != 2 {
		t.Errorf("%d operations", n)
	}
	w.Add(Op{Kind: Read, Tier: Local, Result: Nothing})
	w.Flush()
	if n := ops(); n != 3 {
		t.Errorf("%d operations after Flush", n)
	}
}

func TestLinesOfManyGoroutinesDoNotMix(t *testing.T) {
	name := filepath.Join(t.TempDir(), "i1.log")
	w, err := Create(name, "i1", 0)
	if err != nil {
		t.Fatal(err)
	}
	const goroutines, each = 8, 500
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for range each {
				w.Add(Op{Kind: Read, Start: Now(), End: Now(), Tier: Local, Result: Value, Version: 1})
			}
		})
	}
	wg.Wait()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	logs, err := ReadDir(filepath.Dir(name))
	if err != nil || len(logs[0].Ops) != goroutines*each {
		t.Errorf("%d operations, %v", len(logs[0].Ops), err)
	}
}

func TestWhatIsNoLineIsAnError(t *testing.T) {
	for _, line := range []string{
		"", "z 1", "c", "c 1 2", "c 1 2 0", "c 1 2 3 4", "c 1 2 3 ", "c  1 2 3", " c 1 2 3", "c 01 2 3", "c +1 2 3", "c -1 2 3",
		"c 1 4294967296 3", "c 9223372036854775808 2 3", "s 1 2 3 4 x", "s 1 2 3 4", "a 1", "r 2 1 3 n 4", "r 1 2 3 z 4", "r 1 2 3 n 0",
		"r 1 2 3 n", "p 1 2 3 n 4", "p 1 2 3 ?!", "x 1", "x 1 ", "h again 0", "cc 1 2 3",
	} {
		if l, err := ReadLog(strings.NewReader("h i1 0\n" + line + "\n")); !errors.Is(err, errLine) {
			t.Errorf("%q: %+v, %v", line, l, err)
		}
	}
	for _, text := range []string{"c 1 2 3\n", "h\n", "h i1\n", "h i1 -1\n", "h  0\n"} {
		if _, err := ReadLog(strings.NewReader(text)); !errors.Is(err, errLine) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestTheClockMovesOn(t *testing.T) {
	before := Now()
	for wall := time.Now(); time.Since(wall) < time.Millisecond; {
	}
	if after := Now(); after-before < int64(time.Millisecond/2) || after-before > int64(time.Minute) {
		t.Errorf("a millisecond took %v", time.Duration(after-before))
	}
}

func FuzzReadLog(f *testing.F) {
	whole := []byte("h i1 0\n")
	for _, o := range every {
		whole = o.Append(whole)
	}
	f.Add(whole)
	f.Add([]byte("h i1 0\nr 1 2 3 n 4\nr 1 2"))
	f.Add([]byte("x"))
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := ReadLog(strings.NewReader(string(text)))
		if err != nil {
			return
		}
		// What is read is written as it was, and can be judged.
		var again []byte
		if l.Instance != "" {
			again = Op{Kind: Hello, Instance: l.Instance, Bound: l.Bound}.Append(nil)
		}
		for _, o := range l.Ops {
			again = o.Append(again)
		}
		if want := text[:strings.LastIndexByte(string(text), '\n')+1]; string(again) != string(want) {
			t.Errorf("%q is written as %q", want, again)
		}
		r := Check([]*Log{l}, Options{Bound: time.Second})
		_ = r.String()
	})
}
