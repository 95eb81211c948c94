package harness

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"
)

// ErrParentGone ends an instance whose input ended before its configuration came.
var ErrParentGone = errors.New("harness: the parent went away")

// Parent is an instance's way to its parent: its standard input and output.
type Parent struct {
	in  *bufio.Reader
	out *json.Encoder
}

// Begin begins the life of an instance: it reads the configuration into config. From then
// on an interrupt of the terminal, which reaches every process of a run, leaves it alone: its
// parent decides when it ends.
func Begin(in io.Reader, out io.Writer, config any) (*Parent, error) {
	signal.Ignore(os.Interrupt)
	p := &Parent{in: bufio.NewReader(in), out: json.NewEncoder(out)}
	line, err := p.in.ReadBytes('\n')
	if errors.Is(err, io.EOF) {
		return nil, ErrParentGone
	}
	if err != nil {
		return nil, fmt.Errorf("harness: input: %w", err)
	}
	if err := json.Unmarshal(line, config); err != nil {
		return nil, fmt.Errorf("harness: configuration: %w", err)
	}
	return p, nil
}

// TellReady tells the parent that the instance is ready.
func (p *Parent) TellReady() error { return p.out.Encode(message{Ready: true}) }

// TellResult tells the parent the instance's measurements.
func (p *Parent) TellResult(result any) error { return p.out.Encode(message{Result: result}) }

// AwaitEnd waits until the parent tells the instance to end, or has ended itself.
func (p *Parent) AwaitEnd() { _, _ = io.Copy(io.Discard, p.in) } // whatever ends it

// Sleep waits for d, and returns false when ctx ends first.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
