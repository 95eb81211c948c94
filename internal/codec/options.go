package codec

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// Defaults of Options.
const (
	DefaultCompressAbove   = 1024
	DefaultMaxEncodedBytes = 64 << 20
	DefaultMaxDecodedBytes = 64 << 20
)

const (
	// maxEncodedLimit is what Redis accepts as one string.
	maxEncodedLimit = 512 << 20
	// maxDecodedLimit bounds what decompressing one record may allocate, whatever the options say.
	maxDecodedLimit = 1 << 30
)

// Options say how the values of one cache are stored. The zero value is useful.
type Options struct {
	// Codec serialises values. Defaults to Raw for strings and byte slices, Protobuf for messages,
	// JSON for the rest.
	Codec Codec
	// Compression of payloads. Defaults to NoCompression. Records are read whatever they were
	// compressed with.
	Compression Compression
	// CompressAbove is the size in bytes from which payloads are compressed; what does not get
	// smaller is stored as it is. Defaults to DefaultCompressAbove.
	CompressAbove int
	// Keyring encrypts payloads with AES-256-GCM. Defaults to nil: no encryption. With a keyring,
	// records that are not encrypted are refused, and integers are not stored as numbers.
	Keyring *Keyring
	// MaxEncodedBytes limits what Encode may append. Defaults to DefaultMaxEncodedBytes; at most
	// 512 MiB.
	MaxEncodedBytes int
	// MaxDecodedBytes limits what a compressed payload may expand to; it is checked before anything
	// is allocated. Defaults to DefaultMaxDecodedBytes; at most 1 GiB.
	MaxDecodedBytes int
}

// withDefaults returns a completed copy for values of type t, which shares nothing that its caller
// could change.
func (o Options) withDefaults(t reflect.Type) Options {
	if o.Codec == nil {
		o.Codec = defaultCodec(t)
	}
	if o.CompressAbove == 0 {
		o.CompressAbove = DefaultCompressAbove
	}
	if o.Keyring != nil {
		o.Keyring = o.Keyring.clone()
	}
	if o.MaxEncodedBytes == 0 {
		o.MaxEncodedBytes = DefaultMaxEncodedBytes
	}
	if o.MaxDecodedBytes == 0 {
		o.MaxDecodedBytes = DefaultMaxDecodedBytes
	}
	return o
}

// validate joins everything that is wrong; each fault is a *FieldError.
func (o Options) validate(t reflect.Type) error {
	var faults []error
	fault := func(field, format string, args ...any) {
		faults = append(faults, &FieldError{Field: field, Reason: fmt.Sprintf(format, args...)})
	}
	if reason := unfit(o.Codec, t); reason != "" {
		fault("Codec", "%s", reason)
	}
	if o.Compression > Zstd {
		fault("Compression", "unknown value %d", o.Compression)
	}
	if o.CompressAbove < 0 {
		fault("CompressAbove", "%d is negative", o.CompressAbove)
	}
	if o.Keyring != nil {
		faults = append(faults, o.Keyring.faults()...)
	}
	if o.MaxEncodedBytes < 0 || o.MaxEncodedBytes > maxEncodedLimit {
		fault("MaxEncodedBytes", "%d is not within 1 and %d", o.MaxEncodedBytes, maxEncodedLimit)
	}
	if o.MaxDecodedBytes < 0 || o.MaxDecodedBytes > maxDecodedLimit {
		fault("MaxDecodedBytes", "%d is not within 1 and %d", o.MaxDecodedBytes, maxDecodedLimit)
	}
	return errors.Join(faults...)
}

// defaultCodec chooses by type.
func defaultCodec(t reflect.Type) Codec {
	switch {
	case isRaw(t):
		return Raw()
	case isMessage(t):
		return Protobuf()
	default:
		return JSON()
	}
}

// unfit tells why c cannot hold values of type t, or "".
func unfit(c Codec, t reflect.Type) string {
	switch c.(type) {
	case rawCodec:
		if !isRaw(t) {
			return fmt.Sprintf("raw holds strings and byte slices, not %s", t)
		}
		return ""
	case protobufCodec:
		if !isMessage(t) {
			return fmt.Sprintf("protobuf holds pointers to generated messages, not %s", t)
		}
		return ""
	case *jsonCodec, messagePackCodec:
		return unreadable(c, t)
	}
	if c.ID() < minUserID {
		return fmt.Sprintf("id %d of codec %q is reserved; a codec of your own has %d to 255", c.ID(), c.Name(), minUserID)
	}
	if c.Name() == "" {
		return "has no name"
	}
	return ""
}

// clone copies the keys too.
func (k *Keyring) clone() *Keyring {
	c := &Keyring{Active: k.Active, Keys: maps.Clone(k.Keys)}
	for id, key := range c.Keys {
		c.Keys[id] = slices.Clone(key)
	}
	return c
}
