package fleet

import "errors"

// possessions is what somebody opened, and closes in reverse.
type possessions []func() error

// add adds what closes a thing that was opened.
func (o *possessions) add(closes func() error) { *o = append(*o, closes) }

// Close closes everything, the last first.
func (o *possessions) Close() error {
	var err error
	for len(*o) > 0 {
		last := len(*o) - 1
		closes := (*o)[last]
		*o = (*o)[:last]
		err = errors.Join(err, closes())
	}
	return err
}
