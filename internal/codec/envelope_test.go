package codec

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"
)

func TestChecksum_isCRC32C(t *testing.T) {
	data, _ := mustEncode(t, mustNew[string](t, Options{}), "some key", "some value")
	all := append([]byte("some key"), data[:3]...)
	all = append(all, data[headerSize:]...)
	if got, want := binary.BigEndian.Uint32(data[3:]), crc32.Checksum(all, castagnoli); got != want {
		t.Errorf("got %x, want %x", got, want)
	}
}

// reseal makes the checksum agree again, as a writer that means harm would.
func reseal(key string, data []byte) []byte {
	binary.BigEndian.PutUint32(data[3:], checksum(key, data))
	return data
}

// checkDamage proves that no truncation, no flipped bit and no other key yields a value.
func checkDamage[V any](t *testing.T, o Options, v V) {
	t.Helper()
	c := mustNew[V](t, o)
	data, form := mustEncode(t, c, "key", v)
	refused := func(what string, at int, key string, data []byte) {
		t.Helper()
		var got V
		err := c.Decode(key, data, form, &got)
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrUnknownVersion) {
			t.Errorf("%s: %s %d: %v", c.Name(), what, at, err)
		}
	}
	for n := range data {
		refused("truncated to", n, "key", data[:n])
		for bit := range 8 {
			data[n] ^= 1 << bit
			refused("flipped in byte", n, "key", data)
			data[n] ^= 1 << bit
		}
	}
	refused("longer", 1, "key", append(data, 0))
	for i, key := range []string{"", "kez", "ke", "keyy", "Key"} {
		refused("other key", i, key, data)
	}
}

func TestDecode_refusesDamage(t *testing.T) {
	for _, o := range settings(nil) {
		checkDamage(t, o, ada)
		checkDamage[*user](t, o, nil)
		checkDamage(t, o, "text")
		checkDamage(t, o, "")
		checkDamage[any](t, o, map[string]any{"k": []any{1.0, "v"}})
	}
}

// The headers claim all that a writer that knows the checksum could claim.
func TestDecode_refusesForgedHeaders(t *testing.T) {
	c := mustNew[string](t, Options{})
	tests := []struct {
		name string
		data []byte
		want error
	}{
		{"version", []byte{2, idRaw, 0, 0, 0, 0, 0}, ErrUnknownVersion},
		{"version 0", []byte{0, idRaw, 0, 0, 0, 0, 0}, ErrUnknownVersion},
		{"codec", []byte{1, 63, 0, 0, 0, 0, 0}, ErrWrongCodec},
		{"flag", []byte{1, idRaw, 0x10, 0, 0, 0, 0}, ErrUnknownVersion},
		{"compression", []byte{1, idRaw, 3, 0, 0, 0, 0, 1, 1}, ErrUnknownVersion},
		{"no size", []byte{1, idRaw, 1, 0, 0, 0, 0}, ErrCorrupt},
		{"endless size", append([]byte{1, idRaw, 1, 0, 0, 0, 0}, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255), ErrCorrupt},
		{"huge size", append([]byte{1, idRaw, 2, 0, 0, 0, 0}, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1), ErrTooLarge},
		{"nil and payload", []byte{1, idRaw, flagNil, 0, 0, 0, 0, 'x'}, ErrCorrupt},
		{"nil and compressed", []byte{1, idRaw, flagNil | 1, 0, 0, 0, 0, 0}, ErrCorrupt},
		{"no key id", []byte{1, idRaw, flagEncrypted, 0, 0, 0, 0}, ErrCorrupt},
		{"short nonce", []byte{1, idRaw, flagEncrypted, 0, 0, 0, 0, 1, 'k', 0}, ErrCorrupt},
	}
	for _, test := range tests {
		s := "old"
		if err := c.Decode("key", reseal("key", test.data), Enveloped, &s); !errors.Is(err, test.want) || s != "" {
			t.Errorf("%s: %q, %v", test.name, s, err)
		}
	}
}

func TestMaxEncodedBytes_boundsTheEncodedForm(t *testing.T) {
	for _, k := range []*Keyring{nil, keyring("k")} {
		s := "0123456789"
		data, _ := mustEncode(t, mustNew[string](t, Options{Keyring: k}), "k", s)
		if _, _, err := mustNew[string](t, Options{Keyring: k, MaxEncodedBytes: len(data)}).Encode(nil, "k", &s); err != nil {
			t.Error(err)
		}
		out, _, err := mustNew[string](t, Options{Keyring: k, MaxEncodedBytes: len(data) - 1}).Encode([]byte("pre"), "k", &s)
		var size *SizeError
		if !errors.Is(err, ErrTooLarge) || !errors.As(err, &size) || size.Field != "MaxEncodedBytes" || size.Size != uint64(len(data)) || string(out) != "pre" {
			t.Errorf("%q, %v", out, err)
		}
	}
}
