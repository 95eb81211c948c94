package codec

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
)

const (
	keySize   = 32 // AES-256
	nonceSize = 12
)

// Keyring holds the keys of AES-256-GCM: Active encrypts, all of Keys decrypt. To rotate, add the
// new key everywhere, then make it active, then remove the old one when its last records have
// expired. Nonces are random, so a key must not encrypt more than 2^32 values. No way of printing a
// Keyring shows its keys.
type Keyring struct {
	// Active is the id of the key that new values are encrypted with.
	Active string
	// Keys maps ids of 1 to 255 bytes, which are stored in the clear, to keys of 32 bytes.
	Keys map[string][]byte
}

// String names the ids and no key.
func (k Keyring) String() string {
	return "Keyring(active " + strconv.Quote(k.Active) + ", " + strconv.Itoa(len(k.Keys)) + " keys)"
}

// GoString is String, so that %#v shows no key.
func (k Keyring) GoString() string { return k.String() }

// Format is String for every verb: %x would print the bytes of what %v hides.
func (k Keyring) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// LogValue is String for slog.
func (k Keyring) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalJSON writes String.
func (k Keyring) MarshalJSON() ([]byte, error) { return json.Marshal(k.String()) }

// faults lists what is wrong. Ids are not secret and may be told.
func (k *Keyring) faults() []error {
	var faults []error
	if _, ok := k.Keys[k.Active]; !ok {
		faults = append(faults, &FieldError{Field: "Keyring.Active", Reason: fmt.Sprintf("%q is not among Keys", k.Active)})
	}
	ids := make([]string, 0, len(k.Keys))
	for id := range k.Keys {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		if len(id) < 1 || len(id) > 255 {
			faults = append(faults, &FieldError{Field: "Keyring.Keys", Reason: fmt.Sprintf("id %.32q has %d bytes, not 1 to 255", id, len(id))})
		}
		if n := len(k.Keys[id]); n != keySize {
			faults = append(faults, &FieldError{Field: "Keyring.Keys", Reason: fmt.Sprintf("key %.32q has %d bytes, not %d", id, n, keySize)})
		}
	}
	return faults
}

// sealer is a Keyring with its ciphers made.
type sealer struct {
	active  string
	current cipher.AEAD
	all     map[string]cipher.AEAD
}

func newSealer(k *Keyring) (*sealer, error) {
	s := &sealer{active: k.Active, all: make(map[string]cipher.AEAD, len(k.Keys))}
	for id, key := range k.Keys {
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		if s.all[id], err = cipher.NewGCM(block); err != nil {
			return nil, err
		}
	}
	s.current = s.all[k.Active]
	return s, nil
}

// overhead is what seal adds.
func (s *sealer) overhead() int { return s.current.Overhead() }

// seal encrypts, in place, the body of the envelope that begins at start. The nonce stands before
// the body.
func (s *sealer) seal(out []byte, start, body int, key string, bound []byte) []byte {
	nonce := out[body-nonceSize : body]
	_, _ = rand.Read(nonce) // never fails
	aad := getScratch()
	defer putScratch(aad)
	header := out[start:]
	aad.b = appendAdditional(aad.b[:0], header[:3], out[start+headerSize:body-nonceSize], key, bound)
	return s.current.Seal(out[:body], nonce, out[body:], aad.b)
}

// open appends the decrypted body to dst.
func (s *sealer) open(dst []byte, e envelope, key string, bound []byte) ([]byte, error) {
	aead, ok := s.all[string(e.keyID)]
	if !ok {
		return dst, fmt.Errorf("%w: %q", ErrUnknownKey, e.keyID)
	}
	aad := getScratch()
	defer putScratch(aad)
	aad.b = appendAdditional(aad.b[:0], []byte{envelopeVersion, e.codecID, e.flags}, e.extra, key, bound)
	out, err := aead.Open(dst, e.nonce, e.body, aad.b)
	if err != nil {
		return dst, fmt.Errorf("%w: does not decrypt with key %q", ErrCorrupt, e.keyID)
	}
	return out, nil
}

// appendAdditional puts the header, which says its own length and whether anything is bound, before
// the key, and what is bound after it, with its length at the end: no two triples of them give the
// same bytes.
func appendAdditional(dst, fixed, extra []byte, key string, bound []byte) []byte {
	dst = append(dst, fixed...)
	dst = append(dst, extra...)
	dst = append(dst, key...)
	if len(bound) > 0 {
		dst = append(dst, bound...)
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(bound)))
	}
	return dst
}
