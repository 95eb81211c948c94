package codec

import (
	"errors"
	"fmt"
	"runtime"
)

// What is wrong with a record, or with a value. All are wrapped with details; ask with errors.Is.
var (
	// ErrCorrupt: truncated, altered, or written for another key.
	ErrCorrupt = errors.New("codec: record is corrupt")
	// ErrUnknownVersion: written by a version of this library that this one does not know.
	ErrUnknownVersion = errors.New("codec: unknown envelope version")
	// ErrWrongCodec: written with another codec, or with encryption on one side only.
	ErrWrongCodec = errors.New("codec: record was written in another format")
	// ErrUnknownKey: encrypted with a key that the keyring does not have.
	ErrUnknownKey = errors.New("codec: unknown encryption key")
	// ErrTooLarge: larger than a limit of Options; the error is a *SizeError.
	ErrTooLarge = errors.New("codec: value is too large")
	// ErrEncode: the codec refused the value.
	ErrEncode = errors.New("codec: value cannot be encoded")
	// ErrDecode: the record is sound, but the codec could not make a value of this type from it.
	ErrDecode = errors.New("codec: value cannot be decoded")
	// ErrInvalidOptions: every *FieldError matches it.
	ErrInvalidOptions = errors.New("codec: invalid options")
)

// FieldError reports one field of Options that cannot be used.
type FieldError struct {
	Field  string
	Reason string
}

func (e *FieldError) Error() string { return "codec: " + e.Field + ": " + e.Reason }

// Is makes every FieldError match ErrInvalidOptions.
func (e *FieldError) Is(target error) bool { return target == ErrInvalidOptions }

// SizeError reports a value that is larger than a limit.
type SizeError struct {
	Field string // the field of Options that holds the limit
	Size  uint64 // bytes
	Limit int    // bytes
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("codec: %d bytes are more than %s of %d", e.Size, e.Field, e.Limit)
}

// Is makes every SizeError match ErrTooLarge.
func (e *SizeError) Is(target error) bool { return target == ErrTooLarge }

// CostError reports a record that would take more memory than its size justifies; see the package's
// documentation.
type CostError struct {
	Cost  uint64 // bytes of memory that it would take
	Size  int    // bytes of the record
	Limit uint64 // bytes of memory that a record of this size may take
}

func (e *CostError) Error() string {
	return fmt.Sprintf("codec: %d stored bytes would take %d bytes of memory, at most %d are allowed", e.Size, e.Cost, e.Limit)
}

// Is makes every CostError match ErrTooLarge.
func (e *CostError) Is(target error) bool { return target == ErrTooLarge }

// ValueError reports a value that a codec could not encode or decode. Its text never holds a part
// of the value: the errors of serialisers quote what they choke on, so their texts are not used.
type ValueError struct {
	Codec  string // the codec's name
	Detail string // what is safe to tell

	kind  error // ErrEncode or ErrDecode
	cause error
}

func (e *ValueError) Error() string {
	s := e.kind.Error() + ": " + e.Codec
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// Is makes a ValueError match ErrEncode or ErrDecode.
func (e *ValueError) Is(target error) bool { return target == e.kind }

// Unwrap returns the error of a user's own codec, whose text is the user's affair. For this
// library's codecs it is nil.
func (e *ValueError) Unwrap() error { return e.cause }

// panicDetail tells what is safe to tell of a panic: its text may quote the value, unless the
// runtime wrote it and it is not about a value held by an interface.
func panicDetail(r any) string {
	if e, ok := r.(runtime.Error); ok {
		if _, assertion := r.(*runtime.TypeAssertionError); assertion || isPlain(e) {
			return "panic: " + e.Error()
		}
	}
	return fmt.Sprintf("panic of type %T", r)
}

// isPlain reports whether the runtime's own error type is the dynamic one: a user may implement
// runtime.Error too.
func isPlain(e runtime.Error) bool {
	switch fmt.Sprintf("%T", e) {
	case "runtime.boundsError", "runtime.errorString", "runtime.plainError", "runtime.errorAddressString":
		return true
	}
	return false
}
