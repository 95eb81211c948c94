package codec

import (
	"bytes"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// user is the struct of the benchmarks: six fields, as in the comparison with other libraries.
type user struct {
	ID     int64   `json:"id"`
	Name   string  `json:"name"`
	Email  string  `json:"email"`
	Age    int32   `json:"age"`
	Active bool    `json:"active"`
	Score  float64 `json:"score"`
}

var ada = user{ID: 1234567, Name: "Ada Lovelace", Email: "ada@example.com", Age: 36, Active: true, Score: 98.25}

func keyring(active string, ids ...string) *Keyring {
	k := &Keyring{Active: active, Keys: map[string][]byte{}}
	for _, id := range append(ids, active) {
		k.Keys[id] = bytes.Repeat([]byte(id[:1]), 32)
	}
	return k
}

func mustNew[V any](t testing.TB, o Options) *Typed[V] {
	t.Helper()
	c, err := New[V](o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mustEncode[V any](t testing.TB, c *Typed[V], key string, v V) ([]byte, Form) {
	t.Helper()
	data, form, err := c.Encode(nil, key, &v)
	if err != nil {
		t.Fatal(err)
	}
	return data, form
}

// roundTrip also proves that what was there before is replaced, that the prefix is kept, that a decoded value does
// not share memory with the data, and that decoding does not change them.
func roundTrip[V any](t testing.TB, c *Typed[V], v V, old V) V {
	t.Helper()
	out, form, err := c.Encode([]byte("prefix"), "key", &v)
	if err != nil {
		t.Fatalf("encode: %v", err)
	}
	if !bytes.HasPrefix(out, []byte("prefix")) {
		t.Fatal("Encode does not append")
	}
	data := out[len("prefix"):]
	before := bytes.Clone(data)
	got := old
	if err := c.Decode("key", data, form, &got); err != nil {
		t.Fatalf("decode: %v", err)
	}
	if !bytes.Equal(before, data) {
		t.Fatal("Decode changed its data")
	}
	for i := range data {
		data[i] = 0xAA
	}
	return got
}

type (
	namedInt   int16
	namedText  string
	namedBytes []byte
	loudInt    int
)

func (loudInt) MarshalText() ([]byte, error)  { return []byte("loud"), nil }
func (i *loudInt) UnmarshalText([]byte) error { *i = 7; return nil }

type embedded struct {
	Deep  int `json:"deep,omitempty"`
	Plain string
}

// wide has a field of every kind that serialisers treat in a way of their own.
type wide struct {
	embedded
	User    user           `json:"user"`
	Ptr     *user          `json:"ptr"`
	List    []user         `json:"list,omitempty"`
	Map     map[string]any `json:"map"`
	Counts  map[int]uint8  `json:"counts"`
	Time    time.Time      `json:"time"`
	Wait    time.Duration  `json:"wait"`
	Bytes   []byte         `json:"bytes"`
	Array   [3]byte        `json:"array"`
	Small   *int8          `json:"small"`
	Quoted  int            `json:"quoted,string"`
	Hidden  string         `json:"-"`
	Text    loudInt        `json:"text"`
	Dynamic any            `json:"dynamic"`
	F32     float32        `json:"f32"`
	Uint    uint64         `json:"uint"`
	Strings []string       `json:"strings"`
}
