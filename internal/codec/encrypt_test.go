package codec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestKeyring_rotates(t *testing.T) {
	v := "value"
	before := mustNew[string](t, Options{Keyring: keyring("1")})
	prepared := mustNew[string](t, Options{Keyring: keyring("1", "2")})
	rotated := mustNew[string](t, Options{Keyring: keyring("2", "1")})
	after := mustNew[string](t, Options{Keyring: keyring("2")})
	all := []*Typed[string]{before, prepared, rotated, after}
	readable := [][]bool{ // by writer, by reader
		{true, true, true, false},
		{true, true, true, false},
		{false, true, true, true},
		{false, true, true, true},
	}
	for w, writer := range all {
		data, form := mustEncode(t, writer, "k", v)
		for r, reader := range all {
			var got string
			err := reader.Decode("k", data, form, &got)
			if readable[w][r] != (err == nil && got == v) || err != nil && (!errors.Is(err, ErrUnknownKey) || got != "") {
				t.Errorf("written by %d, read by %d: %q, %v", w, r, got, err)
			}
		}
	}
	// The same id with another key is not corruption that yields a value.
	other := keyring("1")
	other.Keys["1"] = bytes.Repeat([]byte{9}, 32)
	data, form := mustEncode(t, before, "k", v)
	var got string
	if err := mustNew[string](t, Options{Keyring: other}).Decode("k", data, form, &got); !errors.Is(err, ErrCorrupt) || got != "" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestKeyring_onOneSideOnly(t *testing.T) {
	v := "value"
	plain, sealed := mustNew[string](t, Options{}), mustNew[string](t, Options{Keyring: keyring("k")})
	var got string
	data, form := mustEncode(t, plain, "key", v)
	if err := sealed.Decode("key", data, form, &got); !errors.Is(err, ErrWrongCodec) {
		t.Error(err)
	}
	data, form = mustEncode(t, sealed, "key", v)
	if err := plain.Decode("key", data, form, &got); !errors.Is(err, ErrUnknownKey) {
		t.Error(err)
	}
	if bytes.Contains(data, []byte(v)) {
		t.Error("not encrypted")
	}
	again, _ := mustEncode(t, sealed, "key", v)
	if bytes.Equal(data, again) {
		t.Error("the nonce repeats")
	}
}

// A writer that can recompute the checksum still cannot change anything.
func TestKeyring_authenticates(t *testing.T) {
	c := mustNew[string](t, Options{Keyring: keyring("k", "l"), Compression: S2, CompressAbove: 1})
	data, form := mustEncode(t, c, "key", strings.Repeat("value", 100))
	var got string
	if err := c.Decode("kez", reseal("kez", bytes.Clone(data)), form, &got); !errors.Is(err, ErrCorrupt) {
		t.Errorf("moved to another key: %v", err)
	}
	for i := range data {
		if i >= 3 && i < headerSize {
			continue
		}
		for bit := range 8 {
			forged := bytes.Clone(data)
			forged[i] ^= 1 << bit
			if err := c.Decode("key", reseal("key", forged), form, &got); err == nil || got != "" {
				t.Errorf("byte %d, bit %d: accepted", i, bit)
			}
		}
	}
}

func TestKeyring_isNeverShown(t *testing.T) {
	k := Keyring{Active: "main", Keys: map[string][]byte{"main": []byte("hunter2-hunter2-hunter2-hunter2-")}}
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	logger.Info("m", "k", k, "p", &k, "o", Options{Keyring: &k})
	slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "k", k, "p", &k)
	text, err := json.Marshal(map[string]any{"k": k, "p": &k})
	if err != nil {
		t.Fatal(err)
	}
	shown := log.String() + string(text) + k.String() + k.GoString()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%T", "% x"} {
		shown += fmt.Sprintf(verb+verb+verb+verb, k, &k, Options{Keyring: &k}, []Keyring{k})
	}
	for _, leak := range []string{"hunter2", fmt.Sprintf("%x", "hunter2"), fmt.Sprintf("%X", "hunter2"), fmt.Sprintf("% x", "hunter2"), "104 117 110", "0x68"} {
		if strings.Contains(shown, leak) {
			t.Errorf("%s in %s", leak, shown)
		}
	}
	if !strings.Contains(k.String(), "main") {
		t.Error("the active id is useful and not secret")
	}
}
