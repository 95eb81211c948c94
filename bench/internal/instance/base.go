package instance

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"github.com/doppio-cache/doppio/internal/harness"
)

// Begin begins the life of an instance: it reads its configuration, the first line of its input, into cfg. From then on an
// interrupt of the terminal, which reaches every process of a run, leaves it alone: its parent decides when it ends.
func Begin(in *bufio.Reader, cfg any) error {
	signal.Ignore(os.Interrupt)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return ParentGone(err)
	}
	if err := json.Unmarshal(line, cfg); err != nil {
		return fmt.Errorf("instance: configuration: %w", err)
	}
	return nil
}

// Paths are where an instance finds what its parent opened for it, and where it is to write.
type Paths struct {
	Source string // of the source's socket
	Shared string // of the shared memory
	Log    string // to write
	Name   string // of the instance, in the log
}

// Base is what every instance has from its parent. What stands on it is owned by it too, and closed before it.
type Base struct {
	Shared *Shared
	Source *SourceClient
	Log    *harness.Recorder
	Owned
}

// OpenBase opens it.
func OpenBase(p Paths) (_ *Base, err error) {
	b := &Base{}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Close())
		}
	}()
	if b.Shared, err = OpenShared(p.Shared); err != nil {
		return nil, err
	}
	b.Add(b.Shared.Close)
	if b.Log, err = harness.Record(p.Log, p.Name, 0); err != nil {
		return nil, err
	}
	b.Add(b.Log.Close)
	if b.Source, err = DialSource(p.Source); err != nil {
		return nil, err
	}
	b.Add(b.Source.Close)
	return b, nil
}
