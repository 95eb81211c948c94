package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// allocated is how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// A claim of a small record is refused before room is made for it.
func TestBombs_areRefusedUnallocated(t *testing.T) {
	type big struct{ A [64]int64 }
	nils := append(binary.BigEndian.AppendUint32([]byte{0xdd}, 200_000), bytes.Repeat([]byte{0xc0}, 200_000)...)
	frame := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa0, 1 | 1<<1 | 8, 0, 0, 'a'}
	zeros := bytes.Repeat([]byte{0}, 64<<20)
	empties := []byte("[" + strings.Repeat("{},", 99_999) + "{}]")
	for name, decode := range map[string]func() error{
		"zstd":          bomb[[]byte](t, Options{}, Zstd, 64<<20, frame),
		"zstd, real":    bomb[[]byte](t, Options{}, Zstd, 64<<20, Zstd.compress(nil, zeros)),
		"s2, real":      bomb[[]byte](t, Options{}, S2, 64<<20, S2.compress(nil, zeros)),
		"msgpack, zstd": bomb[[]big](t, Options{Codec: MessagePack()}, Zstd, len(nils), Zstd.compress(nil, nils)),
		"msgpack":       bomb[[]big](t, Options{Codec: MessagePack()}, NoCompression, 0, nils),
		"json":          bomb[[]big](t, Options{}, NoCompression, 0, empties),
	} {
		var err error
		n := allocated(func() { err = decode() })
		if !errors.Is(err, ErrTooLarge) || n > 8<<20 {
			t.Errorf("%s: %d KiB, %v", name, n>>10, err)
		}
	}
}

func bomb[V any](t *testing.T, o Options, c Compression, size int, body []byte) func() error {
	tc := mustNew[V](t, o)
	data := []byte{1, tc.codecID, uint8(c), 0, 0, 0, 0}
	if c != NoCompression {
		data = binary.AppendUvarint(data, uint64(size))
	}
	data = reseal("key", append(data, body...))
	return func() error {
		var v V
		return tc.Decode("key", data, Enveloped, &v)
	}
}

// A value that compresses too well to be read is stored as it is, and dense values stay readable.
func TestEncode_honestValuesAreWithinTheirCost(t *testing.T) {
	text := strings.Repeat("a", 8<<20)
	for _, c := range []Compression{S2, Zstd} {
		if got := roundTrip(t, mustNew[string](t, Options{Compression: c, CompressAbove: 1}), text, ""); got != text {
			t.Errorf("%v: %d bytes", c, len(got))
		}
	}
	dense := make([]any, 100_000)
	for i := range dense {
		dense[i] = map[string]any{"a": 1.0}
	}
	for _, codec := range []Codec{JSON(), MessagePack()} {
		if got := roundTrip[any](t, mustNew[any](t, Options{Codec: codec}), dense, nil); len(got.([]any)) != len(dense) {
			t.Errorf("%s: lost elements", codec.Name())
		}
	}
}

// A part that a hostile payload is refused for may be in an honest one of the same type.
func TestMessagePack_honestIsNotTakenForHostile(t *testing.T) {
	type mixed struct {
		Items  []struct{ A [64]int64 }
		Scores []int
		Times  map[string]time.Time
	}
	v := mixed{Items: make([]struct{ A [64]int64 }, 3), Scores: make([]int, 100_000), Times: make(map[string]time.Time)}
	for i := range 256 { // among the first bytes of their times is every one that a map begins with
		v.Times[strconv.Itoa(i)] = time.Unix(1_700_000_000, int64(i)*3_900_000).UTC()
	}
	for _, o := range []Options{{Codec: MessagePack()}, {Codec: MessagePack(), Compression: Zstd, CompressAbove: 1}} {
		got := roundTrip(t, mustNew[mixed](t, o), v, mixed{})
		for k, at := range got.Times {
			if !at.Equal(v.Times[k]) {
				t.Errorf("%v became %v", v.Times[k], at)
			}
		}
		if len(got.Items) != 3 || len(got.Scores) != len(v.Scores) || len(got.Times) != len(v.Times) {
			t.Errorf("%d items, %d scores, %d times", len(got.Items), len(got.Scores), len(got.Times))
		}
	}
	// A map may be the body of an extension.
	var m map[string]int
	if err := MessagePack().Decode([]byte{0xc7, 4, 1, 0x81, 0xa1, 'a', 5}, &m); err != nil || m["a"] != 5 {
		t.Errorf("%v, %v", m, err)
	}
	if err := MessagePack().Decode([]byte{0xc7, 4, 1, 0x82, 0xa1, 'a', 5}, &m); !errors.Is(err, ErrDecode) {
		t.Errorf("%v, %v", m, err)
	}
}

// Tags that stand beside an encrypted value cannot be taken away, added or replaced; without any the format is as it was.
func TestDecodeBound_authenticatesTags(t *testing.T) {
	c := mustNew[string](t, Options{Keyring: keyring("k")})
	v, got := "value", ""
	for _, bound := range []string{"", "tag", "tags"} {
		data, form, err := c.EncodeBound(nil, "key", []byte(bound), &v)
		if err != nil {
			t.Fatal(err)
		}
		for _, other := range []string{"", "tag", "tags"} {
			err := c.DecodeBound("key", []byte(other), data, form, &got)
			if (bound == other) != (err == nil && got == v) || err != nil && !errors.Is(err, ErrCorrupt) {
				t.Errorf("bound to %q, read with %q: %q, %v", bound, other, got, err)
			}
		}
	}
}

func TestExact_tellsWhichTypesAre(t *testing.T) {
	check := func(name string, got, want bool) {
		if got != want {
			t.Errorf("%s: exact is %t", name, got)
		}
	}
	packed := Options{Codec: MessagePack()}
	check("struct", mustNew[user](t, Options{}).Exact(), true)
	check("packed struct", mustNew[user](t, packed).Exact(), true)
	check("number", mustNew[int64](t, Options{}).Exact(), true)
	check("string", mustNew[string](t, Options{}).Exact(), true)
	check("bytes", mustNew[[]byte](t, Options{}).Exact(), false)
	check("pointer", mustNew[*user](t, Options{}).Exact(), false)
	check("any", mustNew[any](t, Options{}).Exact(), false)
	check("wide", mustNew[wide](t, Options{}).Exact(), false)
	check("text", mustNew[loudInt](t, Options{}).Exact(), false)
	check("omitted", mustNew[struct {
		A int `json:"a,omitempty"`
	}](t, Options{}).Exact(), false)
	check("hidden", mustNew[struct{ A, b int }](t, packed).Exact(), false)
	check("user's", mustNew[string](t, Options{Codec: reverser{id: 64}}).Exact(), false)
}

// onlyText writes itself, and cannot be read.
type onlyText struct{ N int }

func (onlyText) MarshalText() ([]byte, error) { return []byte("text"), nil }

func TestNew_refusesTypesThatCannotBeReadBack(t *testing.T) {
	type hidden struct{ _, a int } //nolint:unused // which is the point
	refused := func(err error, path string) {
		t.Helper()
		if !errors.Is(err, ErrInvalidOptions) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
	of := func(_ any, err error) error { return err }
	packed := Options{Codec: MessagePack()}
	refused(of(New[struct{ E []error }](Options{})), "V.E[]")
	refused(of(New[struct{ F map[string]func() }](packed)), "V.F[]")
	refused(of(New[map[[2]int]string](Options{})), "V")
	refused(of(New[[]*hidden](packed)), "V[]")
	refused(of(New[struct{ H hidden }](Options{})), "V.H")
	refused(of(New[[]struct{ W onlyText }](Options{})), "V[].W")
	refused(of(New[[]struct{ W onlyText }](packed)), "V[].W")
	type inner struct{ A int }
	refused(of(New[map[string]struct{ *inner }](Options{})), "V[].inner")
}
