package codec

import (
	stdjson "encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
)

// sameAsStandard decodes doc with this package and with encoding/json: both must refuse it, or both must make the
// same value.
func sameAsStandard[V any](t testing.TB, doc []byte) {
	t.Helper()
	var want, got V
	wantErr := stdjson.Unmarshal(doc, &want)
	gotErr := JSON().Decode(doc, &got)
	if (wantErr == nil) != (gotErr == nil) {
		t.Fatalf("%T from %q: encoding/json %v, ours %v", want, doc, wantErr, gotErr)
	}
	if wantErr == nil && !reflect.DeepEqual(got, want) {
		t.Fatalf("%T from %q:\nencoding/json %#v\nours          %#v", want, doc, want, got)
	}
	if wantErr == nil {
		sameForType[V](t, doc, want)
	}
}

// sameForType does it with the options that New chooses for the type.
func sameForType[V any](t testing.TB, doc []byte, want V) {
	t.Helper()
	var got V
	if err := anyJSON.forType(reflect.TypeFor[V]()).Decode(doc, &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%T from %q: %v\nencoding/json %#v\nours          %#v", want, doc, err, want, got)
	}
}

func sameForAll(t testing.TB, doc []byte) {
	t.Helper()
	sameAsStandard[user](t, doc)
	sameAsStandard[numbers](t, doc)
	sameAsStandard[any](t, doc)
	sameAsStandard[map[string]any](t, doc)
	sameAsStandard[wide](t, doc)
}

// quotedNumber is not compared when decoding: encoding/json takes {"s":"3x{"} for a Number.
type quotedNumber struct {
	S stdjson.Number `json:"s,string"`
}

// numbers has encoding/json's Number wherever one can stand.
type numbers struct {
	N   stdjson.Number            `json:"n"`
	P   *stdjson.Number           `json:"p"`
	L   []stdjson.Number          `json:"l,omitempty"`
	M   map[string]stdjson.Number `json:"m"`
	Raw stdjson.RawMessage        `json:"raw"`
}

var documents = []string{
	`{"id":1,"name":"a","email":"b","age":3,"active":true,"score":1.5}`,
	`{"id":01}`, `{"id":1}x`, `{"id":1} `, `{"id":-}`, `{"id":-0}`, `{"id":1.0}`, `{"id":1e2}`, `{"age":2147483648}`, `{"score":1e999}`, `{"score":1.}`,
	"{\"name\":\"a\x01b\"}", "{\"name\":\"a\xffb\"}", `{"name":"\ud800"}`, `{"name":"\ud83d\ude00"}`, `{"name":"\x"}`, `{"name":1}`, `{"name":null}`,
	`{"id":1,"id":2}`, `{"ID":5,"iD":6}`, `{"user":{"id":1},"user":{"name":"x"}}`, `{"zz":01}`, `{"zz":"\x01"}`, `{"zz":tra}`, `{"zz":{"a" 1}}`, `{"id":1,}`,
	`null`, ``, ` `, `[]`, `[1,2`, `"x"`, `{}`, `{`, `}`, `tru`, `nul`, `-`, `1e`, `NaN`, `Infinity`, "\xef\xbb\xbf{}", `{"a":1}{"a":2}`, `9007199254740993`,
	`{"time":"2024-01-01T00:00:00Z","wait":5,"bytes":"AQI=","array":[1,2,3,4],"small":127,"quoted":"5","dynamic":{"x":[1,{}]}}`,
	`{"array":[1]}`, `{"small":128}`, `{"quoted":5}`, `{"quoted":""}`, `{"bytes":"*"}`, `{"bytes":null,"list":null,"map":{}}`, `{"counts":{"1":1,"x":2}}`, `{"counts":{"-5":300}}`,
	`{"deep":4,"Plain":"p","text":"t","uint":18446744073709551615,"f32":3.5e38}`, `{"uint":-1}`, `{"-":"hidden","Hidden":"x","private":3}`,
	`{"n":1,"p":2.50,"l":[1e400,-0],"m":{"a":12345678901234567890},"s":"7","raw":{"a":[1, 2]}}`, `{"n":"1"}`, `{"n":"x"}`, `{"n":""}`, `{"n":null,"p":null,"s":null}`, `{"s":7}`, `{"s":"x"}`, `{"n":true}`,
}

func TestJSON_decodesLikeTheStandardLibrary(t *testing.T) {
	for _, doc := range documents {
		sameForAll(t, []byte(doc))
	}
}

// mutate damages a document in a few places, mostly with bytes that mean something to JSON.
func mutate(r *rand.Rand, doc []byte) []byte {
	const alphabet = "{}[]:,\"\\0123456789.eE+-tfnul \t\n\x00\x01\x1f\x7f\xff\xc3ua/"
	doc = append([]byte(nil), doc...)
	for range 1 + r.IntN(3) {
		at, c := r.IntN(len(doc)), alphabet[r.IntN(len(alphabet))]
		switch r.IntN(3) {
		case 0:
			doc[at] = c
		case 1:
			doc = append(doc[:at], doc[at+1:]...)
		default:
			doc = append(doc[:at], append([]byte{c}, doc[at:]...)...)
		}
		if len(doc) == 0 {
			return doc
		}
	}
	return doc
}

func TestJSON_decodesDamageLikeTheStandardLibrary(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, doc := range documents {
		for range 200 {
			if doc != "" {
				sameForAll(t, mutate(r, []byte(doc)))
			}
		}
	}
}

// encoding/json reads the encoded value, and makes of it the same as of its own encoding.
func TestJSON_encodesForTheStandardLibrary(t *testing.T) {
	small := int8(1)
	values := []any{
		ada, wide{Text: 7}, &wide{Ptr: &ada, Small: &small, Map: map[string]any{"<": "&\u2028"}, Wait: time.Hour, Dynamic: stdjson.Number("1.50"), Quoted: 5, Bytes: []byte{}},
		quotedNumber{"2"}, quotedNumber{}, numbers{N: "1", L: []stdjson.Number{"1e400"}, M: map[string]stdjson.Number{"x": "-5"}, Raw: stdjson.RawMessage(`{"a":1,"a":2}`)}, numbers{},
		map[string]any{"n": stdjson.Number("12345678901234567890")}, []any{stdjson.Number("")}, map[stdjson.Number]int{"5": 1}, map[int]string{-1: "a"},
		[]byte{}, []byte(nil), [2]byte{1, 2}, time.Minute, 1e21, 1e-7, float32(0.1), "\u2028", "é", struct{ A, B any }{nil, 1}, []time.Time{time.Unix(0, 1).UTC()},
		math.NaN(), math.Inf(1), make(chan int), func() {}, stdjson.Number("x"), map[stdjson.Number]int{"x": 1}, map[struct{}]int{{}: 1}, failing{"x"}, stdjson.RawMessage("{"),
	}
	for _, v := range values {
		want, wantErr := stdjson.Marshal(v)
		for _, c := range []*jsonCodec{anyJSON, anyJSON.forType(reflect.TypeOf(v))} {
			got, gotErr := c.Append(nil, v)
			if (wantErr == nil) != (gotErr == nil) {
				t.Errorf("%#v: encoding/json %v, ours %v", v, wantErr, gotErr)
				continue
			}
			if wantErr == nil && !reflect.DeepEqual(standardAny(t, got), standardAny(t, want)) {
				t.Errorf("%#v: encoding/json %s, ours %s", v, want, got)
			}
		}
	}
}

func standardAny(t *testing.T, doc []byte) (v any) {
	t.Helper()
	d := stdjson.NewDecoder(strings.NewReader(string(doc)))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", doc, err)
	}
	return v
}

// encoding/json replaces bytes that are not UTF-8; a cache must not answer with another string
// than it was given.
func TestJSON_refusesInvalidUTF8(t *testing.T) {
	for _, v := range []any{"a\xff", map[string]any{"\xff": 1.0}, []any{"\xed\xa0\x80"}, user{Name: "\xc3"}} {
		if _, err := JSON().Append(nil, v); !errors.Is(err, ErrEncode) || !strings.Contains(err.Error(), "UTF-8") {
			t.Errorf("%q: %v", v, err)
		}
	}
}

type chain struct{ Next *chain }

func TestJSON_refusesDeepNestingAndCycles(t *testing.T) {
	for _, doc := range []string{strings.Repeat("[", 1_000_000), strings.Repeat(`{"Next":`, 1_000_000), strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001)} {
		var v any
		if err := JSON().Decode([]byte(doc), &v); !errors.Is(err, ErrDecode) {
			t.Errorf("%.10s: %v", doc, err)
		}
		var c chain
		if err := JSON().Decode([]byte(doc), &c); !errors.Is(err, ErrDecode) {
			t.Errorf("%.10s: %v", doc, err)
		}
	}
	cycle := &chain{}
	cycle.Next = cycle
	if _, err := JSON().Append(nil, cycle); !errors.Is(err, ErrEncode) {
		t.Error(err)
	}
}

func TestJSON_knowsWhichTypesCanHoldNumbers(t *testing.T) {
	type inner struct{ N []*stdjson.Number }
	tests := []struct {
		t    reflect.Type
		want *jsonCodec
	}{
		{reflect.TypeFor[user](), staticJSON}, {reflect.TypeFor[chain](), staticJSON}, {reflect.TypeFor[any](), dynamicJSON},
		{reflect.TypeFor[wide](), dynamicJSON}, {reflect.TypeFor[map[string]inner](), anyJSON}, {reflect.TypeFor[map[stdjson.Number]any](), anyJSON},
	}
	for _, test := range tests {
		if got := anyJSON.forType(test.t); got != test.want {
			t.Errorf("%s: %p, want %p", test.t, got, test.want)
		}
	}
}
