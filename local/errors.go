package local

import "errors"

// ErrInvalidOptions is matched by every error that [New] and [NewCache] return.
var ErrInvalidOptions = errors.New("local: invalid options")

// FieldError is one fault of an Options. New joins all faults; errors.As finds the first. It matches
// [ErrInvalidOptions].
type FieldError struct {
	Field  string // the name of the field in Options
	Reason string // what is wrong with it, and what is allowed
}

func (e *FieldError) Error() string { return "local: Options." + e.Field + ": " + e.Reason }

// Is says that every FieldError is an ErrInvalidOptions.
func (e *FieldError) Is(target error) bool { return target == ErrInvalidOptions }
