package instance

import (
	"errors"

	"github.com/doppio-cache/doppio/internal/harness"
)

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
	Source *harness.SourceClient
	Log    *harness.Recorder
	Owned
}

// OpenBase opens it for an instance.
func OpenBase(p Paths, index int) (_ *Base, err error) {
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
	if b.Source, err = harness.DialSource(p.Source, index); err != nil {
		return nil, err
	}
	b.Add(b.Source.Close)
	return b, nil
}
