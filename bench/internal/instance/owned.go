package instance

import "errors"

// Owned is what somebody opened, and closes in reverse.
type Owned []func() error

// Add adds what closes a thing that was opened.
func (o *Owned) Add(closes func() error) { *o = append(*o, closes) }

// Close closes everything, the last first. It may be called again.
func (o *Owned) Close() error {
	var err error
	for len(*o) > 0 {
		last := len(*o) - 1
		closes := (*o)[last]
		*o = (*o)[:last]
		err = errors.Join(err, closes())
	}
	return err
}
