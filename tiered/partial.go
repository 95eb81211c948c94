package tiered

import "errors"

// outcomes says what a batch loader's error means for each key.
type outcomes struct {
	keys map[string]error // what *BatchErrors in it say of keys; nil where there are none
	rest error            // what became of every other key, whatever was returned for it; nil: it has a value or does not exist
}

// partial takes a batch loader's error apart.
func partial(err error) outcomes {
	var o outcomes
	if !o.name(err) && !saysNotFound(err) {
		o.rest = err
	}
	return o
}

// name notes what *BatchErrors in an error say of keys, and tells whether the error says nothing else.
func (o *outcomes) name(err error) (all bool) {
	switch e := err.(type) { //nolint:errorlint // wrapped ones are looked for below, all of them
	case nil:
		return true
	case *BatchError:
		if o.keys == nil {
			o.keys = make(map[string]error)
		}
		if e != nil {
			for key, err := range e.Failed {
				if first := o.keys[key]; first != nil {
					err = errors.Join(first, err)
				}
				o.keys[key] = err
			}
		}
		return true
	case interface{ Unwrap() error }:
		inner := e.Unwrap()
		return inner != nil && o.name(inner)
	case interface{ Unwrap() []error }:
		all = true
		for _, inner := range e.Unwrap() {
			all = o.name(inner) && all
		}
		return all
	}
	return false
}

// of tells what became of a key: there is no such thing, or err says why it failed, or it was found.
func (o outcomes) of(key string, found bool) (absent bool, err error) {
	switch err := o.keys[key]; {
	case saysNotFound(err):
		return true, nil
	case err != nil:
		return false, err
	}
	return !found && o.rest == nil, o.rest
}

// failed tells whether any of the keys has.
func (o outcomes) failed(keys []string, found func(key string) bool) bool {
	if o.keys == nil && o.rest == nil {
		return false
	}
	for _, key := range keys {
		if _, err := o.of(key, found(key)); err != nil {
			return true
		}
	}
	return false
}
