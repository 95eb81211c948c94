package history

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// flushAt is how many bytes of reads a Writer keeps before it writes them. They are what a killed process loses.
const flushAt = 4 << 10

// Writer writes a process's log. Its methods are safe for concurrent use.
type Writer struct {
	mu   sync.Mutex
	file *os.File
	buf  []byte // guarded by mu
	err  error  // guarded by mu; the first that happened
}

// Create begins the log of an instance, whose name holds no space, and whose reads are held to bound; 0 is Options.Bound.
func Create(path, instance string, bound time.Duration) (*Writer, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	w := &Writer{file: file}
	w.Add(Op{Kind: Hello, Instance: instance, Bound: bound})
	return w, nil
}

// Add adds an operation. All but reads and polls are in the file when Add returns: that a change has begun has to be known
// even if its process is killed in the middle of it. An error is kept for Close.
func (w *Writer) Add(o Op) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = o.Append(w.buf)
	if len(w.buf) >= flushAt || (o.Kind != Read && o.Kind != Poll) {
		w.flush()
	}
}

// Flush writes what was kept.
func (w *Writer) Flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flush()
}

func (w *Writer) flush() {
	if len(w.buf) == 0 || w.err != nil {
		return
	}
	_, w.err = w.file.Write(w.buf)
	w.buf = w.buf[:0]
}

// Close ends the log and tells whether all of it was written.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flush()
	return errors.Join(w.err, w.file.Close())
}

// Log is what one process wrote.
type Log struct {
	Instance string
	Bound    time.Duration
	Ops      []Op
	Torn     bool // the last line had no end, and was left out
}

// ReadLog reads a log to its end.
func ReadLog(r io.Reader) (*Log, error) {
	l := &Log{}
	lines := bufio.NewReader(r)
	for n := 1; ; n++ {
		line, err := lines.ReadString('\n')
		if errors.Is(err, io.EOF) {
			l.Torn = line != ""
			return l, nil
		}
		if err != nil {
			return nil, fmt.Errorf("history: %w", err)
		}
		o, err := parseLine(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if (o.Kind == Hello) != (n == 1) {
			return nil, fmt.Errorf("line %d: %w: a log begins with its instance, and names it once", n, errLine)
		}
		if o.Kind == Hello {
			l.Instance, l.Bound = o.Instance, o.Bound
			continue
		}
		l.Ops = append(l.Ops, o)
	}
}

// LogEnding is how the names of logs end that [ReadDir] reads.
const LogEnding = ".log"

// ReadDir reads all logs in a directory, in the order of their names. A process that was killed early may have none.
func ReadDir(dir string) ([]*Log, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	var logs []*Log
	for _, file := range files {
		if !strings.HasSuffix(file.Name(), LogEnding) {
			continue
		}
		name := filepath.Join(dir, file.Name())
		l, err := readFile(name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		logs = append(logs, l)
	}
	return logs, nil
}

func readFile(name string) (*Log, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	defer file.Close()
	return ReadLog(file)
}
