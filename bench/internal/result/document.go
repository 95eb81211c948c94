package result

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Version is that of the documents' form. A change that old readers would misread raises it.
const Version = 1

// Document is what one command measured. One of the pointers is set, that of the command.
type Document struct {
	Version     int         `json:"version"`
	Command     string      `json:"command"`        // "compare", "replay", "fleet" or "chaos"
	Args        []string    `json:"args,omitempty"` // as given, without what is secret
	Began       time.Time   `json:"began"`
	Seconds     float64     `json:"seconds"`
	Notice      string      `json:"notice,omitempty"` // why it is not whole: interrupted, out of time
	Environment Environment `json:"environment"`

	Compare *Compare `json:"compare,omitempty"`
	Replay  *Replay  `json:"replay,omitempty"`
	Fleet   *Fleet   `json:"fleet,omitempty"`
	Chaos   *Chaos   `json:"chaos,omitempty"`
}

// Commands are those that write a document.
var Commands = []string{"compare", "replay", "fleet", "chaos"}

// ErrDocument marks a file that is no document of this version.
var ErrDocument = errors.New("not a document of this version")

// Write writes the document as indented JSON.
func (d *Document) Write(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(d); err != nil {
		return fmt.Errorf("result: write: %w", err)
	}
	return nil
}

// Read reads a document and checks that it holds what its command measures.
func Read(r io.Reader) (*Document, error) {
	var d Document
	if err := json.NewDecoder(r).Decode(&d); err != nil {
		return nil, fmt.Errorf("result: %w: %w", ErrDocument, err)
	}
	if d.Version != Version {
		return nil, fmt.Errorf("result: %w: version %d, want %d", ErrDocument, d.Version, Version)
	}
	holds := map[string]bool{
		"compare": d.Compare != nil,
		"replay":  d.Replay != nil,
		"fleet":   d.Fleet != nil,
		"chaos":   d.Chaos != nil,
	}
	if held, known := holds[d.Command]; !known || !held {
		return nil, fmt.Errorf("result: %w: it does not hold what the command %q measures", ErrDocument, d.Command)
	}
	return &d, nil
}

// ReadFile reads the document in a file.
func ReadFile(path string) (_ *Document, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("result: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	d, err := Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return d, nil
}
