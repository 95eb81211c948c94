package codec

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
)

func faultsOf(err error) (fields []string) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			var f *FieldError
			if !errors.As(e, &f) || !errors.Is(e, ErrInvalidOptions) {
				panic(fmt.Sprintf("%T is no FieldError", e))
			}
			fields = append(fields, f.Field)
		}
	}
	return fields
}

func TestNew_reportsEveryFault(t *testing.T) {
	errOf := func(_ any, err error) error { return err }
	forText := func(o Options) error { return errOf(New[string](o)) }
	tests := []struct {
		name string
		err  error
		want []string
	}{
		{"zero", forText(Options{}), nil},
		{"reserved id", forText(Options{Codec: reverser{id: 1}}), []string{"Codec"}},
		{"raw struct", errOf(New[user](Options{Codec: Raw()})), []string{"Codec"}},
		{"raw int", errOf(New[int](Options{Codec: Raw()})), []string{"Codec"}},
		{"protobuf string", forText(Options{Codec: Protobuf()}), []string{"Codec"}},
		{"message interface", errOf(New[proto.Message](Options{})), []string{"Codec"}},
		{"error", errOf(New[error](Options{})), []string{"Codec"}},
		{"chan", errOf(New[chan int](Options{})), []string{"Codec"}},
		{"func", errOf(New[func()](Options{Codec: MessagePack()})), []string{"Codec"}},
		{"compression", forText(Options{Compression: 3}), []string{"Compression"}},
		{"above", forText(Options{CompressAbove: -1}), []string{"CompressAbove"}},
		{"limits", forText(Options{MaxEncodedBytes: -1, MaxDecodedBytes: -1}), []string{"MaxEncodedBytes", "MaxDecodedBytes"}},
		{"beyond", forText(Options{MaxEncodedBytes: 1<<29 + 1, MaxDecodedBytes: 1<<30 + 1}), []string{"MaxEncodedBytes", "MaxDecodedBytes"}},
		{"empty keyring", forText(Options{Keyring: &Keyring{}}), []string{"Keyring.Active"}},
		{"short key", forText(Options{Keyring: &Keyring{Active: "a", Keys: map[string][]byte{"a": make([]byte, 16)}}}), []string{"Keyring.Keys"}},
		{"no id, long id", forText(Options{Keyring: &Keyring{Active: "", Keys: map[string][]byte{"": make([]byte, 32), strings.Repeat("x", 256): make([]byte, 32)}}}), []string{"Keyring.Keys", "Keyring.Keys"}},
		{"everything", forText(Options{Codec: reverser{}, Compression: 9, CompressAbove: -1, MaxEncodedBytes: -1, MaxDecodedBytes: -1, Keyring: &Keyring{}}),
			[]string{"Codec", "Compression", "CompressAbove", "Keyring.Active", "MaxEncodedBytes", "MaxDecodedBytes"}},
	}
	for _, test := range tests {
		if got := faultsOf(test.err); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
}

// Every field has a default or is useful at zero, and every field is checked.
func TestOptions_haveADefaultAndACheckEach(t *testing.T) {
	zeroIsUseful := map[string]bool{"Compression": true, "Keyring": true}
	full := reflect.ValueOf(Options{}.withDefaults(reflect.TypeFor[user]()))
	bad := map[string]Options{
		"Codec": {Codec: reverser{}}, "Compression": {Compression: 3}, "CompressAbove": {CompressAbove: -1},
		"Keyring": {Keyring: &Keyring{}}, "MaxEncodedBytes": {MaxEncodedBytes: -1}, "MaxDecodedBytes": {MaxDecodedBytes: -1},
	}
	for i := range full.NumField() {
		name := full.Type().Field(i).Name
		if full.Field(i).IsZero() && !zeroIsUseful[name] {
			t.Errorf("%s has no default", name)
		}
		o, ok := bad[name]
		if !ok {
			t.Errorf("%s: this test knows no bad value", name)
			continue
		}
		if _, err := New[user](o); !strings.Contains(fmt.Sprint(err), name) {
			t.Errorf("%s is not checked: %v", name, err)
		}
	}
}

// Changing the caller's options later changes nothing.
func TestOptions_areCopied(t *testing.T) {
	k := keyring("k")
	c := mustNew[string](t, Options{Keyring: k})
	data, form := mustEncode(t, c, "key", "v")
	clear(k.Keys["k"])
	delete(k.Keys, "k")
	k.Active = "gone"
	var s string
	if err := c.Decode("key", data, form, &s); err != nil || s != "v" {
		t.Error(s, err)
	}
}
