package trace

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"
)

func zstded(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	return finish(t, b, w, &out)
}

func sums(keys ...string) (out []uint64) {
	for _, k := range keys {
		out = append(out, xxhash.Sum64String(k))
	}
	return out
}

// cloudPhysics is how libCacheSim's own sample looks.
const cloudPhysics = "version,time,op,size,lbn\n1,33898,2a,512,42932745\n1,33898,2a,512,42932746\n1,33899,2a,512,42932745\n"

const twitter = "0,nz:u:eeW511W3,20,12,7,get,0\n0,a,b,3,10,9,set,3600\n1,nz:u:eeW511W3,20,12,7,gets,0\n1,x,1,0,7,delete,0\n"

func TestTablesAreRead(t *testing.T) {
	yes, no := true, false
	for _, c := range []struct {
		name    string
		content string
		opts    Options
		detects Format
		want    []uint64
	}{
		{"lirs", "*\n5\n7\n\n*\n-5\n5\n", Options{}, LIRS, []uint64{5, 7, ^uint64(4), 5}},
		{"lirs told", "5\n* the loop\n7", Options{Format: LIRS}, LIRS, []uint64{5, 7}},
		{"a header that names the key", cloudPhysics, Options{}, CSV, sums("42932745", "42932746", "42932745")},
		{"as told to libCacheSim", cloudPhysics, Options{CSV: Columns{ID: 5, Time: 2, Size: 4, Delimiter: ',', Header: &yes}}, CSV, sums("42932745", "42932746", "42932745")},
		{"time, key, size", "1,a,10\n1,b,20\n2.5,a,10\n", Options{}, CSV, sums("a", "b", "a")},
		{"time, key, size, with tabs", "1\ta\t10\r\n1\t\"b\t\"\t20\r\n", Options{}, CSV, sums("a", "b\t")},
		{"columns in a header, elsewhere", "size|object_id|time\n1|k 1|2\n", Options{}, CSV, sums("k 1")},
		{"a header in another spelling", "Timestamp;Op;Object-ID\n1;get;k\n1;get;l\n", Options{}, CSV, sums("k", "l")},
		{"quoted", "time,key,size\n1,\"a,\"\"b\"\"\",3\n2, \"c\" ,4", Options{}, CSV, sums(`a,"b"`, "c")},
		{"told that there is no header", "x,y\nz,w\n", Options{CSV: Columns{Header: &no}}, CSV, sums("y", "w")},
		{"an empty first column", "time\tkey\n\ta\n", Options{Format: CSV}, CSV, sums("a")},
		{"one column of keys", "a\nb\n", Options{Format: CSV}, CSV, sums("a", "b")},
		{"colons, told to be csv", "1:a:5\n2:b:6\n", Options{Format: CSV}, CSV, sums("a", "b")},
		{"no rows", "time,key,size\n", Options{Format: CSV}, CSV, nil},
		{"nothing, told to be csv", "", Options{Format: CSV}, CSV, nil},
		{"twitter's reads", twitter, Options{}, Twitter, sums("nz:u:eeW511W3", "nz:u:eeW511W3")},
		{"twitter, all", twitter, Options{AllOperations: true}, Twitter, sums("nz:u:eeW511W3", "a,b", "nz:u:eeW511W3", "x")},
		{"keys with commas", "a,b\nc,d\n", Options{}, Lines, sums("a,b", "c,d")},
		{"keys of three parts", "tenant|7|12\ntenant|8|12\n", Options{}, Lines, sums("tenant|7|12", "tenant|8|12")},
		{"keys of uneven parts", "1,2,3\n1,2\n", Options{}, Lines, sums("1,2,3", "1,2")},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, content := range [][]byte{[]byte(c.content), zstded(t, []byte(c.content))} {
				r, err := NewReader(bytes.NewReader(content), "x", c.opts)
				if err != nil {
					t.Fatal(err)
				}
				got, err := collect(r)
				if err != nil {
					t.Fatal(err)
				}
				if r.Format() != c.detects || !slices.Equal(got, c.want) {
					t.Errorf("read as %s: %x; want %s: %x", r.Format(), got, c.detects, c.want)
				}
				if err := r.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestLongTablesAreDetected by their first 64 KiB, which end inside a line.
func TestLongTablesAreDetected(t *testing.T) {
	var table, numbers, ops strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&table, "%d,key%d,%d\n", i/3, i%100, 100)
		fmt.Fprintf(&numbers, "%d\n", i)
		if i%1000 == 500 {
			numbers.WriteString("*\n")
		}
		fmt.Fprintf(&ops, "%d,key%d,5,100,3,get,0\n", i/3, i%100)
	}
	for format, text := range map[Format]string{CSV: table.String(), LIRS: numbers.String(), Twitter: ops.String()} {
		r, err := NewReader(strings.NewReader(text), "x", Options{Format: Auto})
		if err != nil {
			t.Fatal(err)
		}
		keys, err := collect(r)
		if r.Format() != format || len(keys) != 10_000 || err != nil {
			t.Errorf("%s: read as %s, %d keys, %v", format, r.Format(), len(keys), err)
		}
	}
}

func TestTablesRefused(t *testing.T) {
	wide := slices.Concat(zstdMagic, []byte{0, 20 << 3, 9, 0, 0, 'k'}) // a window of 1 GiB, and one raw block
	whole := zstded(t, int32s(skewed(50_000, identity)...))
	for _, c := range []struct {
		name    string
		content string
		opts    Options
		offset  int64
		want    error
	}{
		{"a table that names nothing", "v,w,x\n1,2,z\n2,3,z\n", Options{}, 0, ErrColumn},
		{"a table without a header", "9,5,a\n8,6,b\n", Options{}, 0, ErrColumn},
		{"a header that names all but the key", "size,time\n1,2\n", Options{Format: CSV}, 0, ErrColumn},
		{"too few columns", "1,a,10\n2\n", Options{Format: CSV}, 7, ErrMalformed},
		{"no key", "1,a,10\n2,,10\n", Options{}, 7, ErrMalformed},
		{"a time that is none", "1,a,10\nx,b,10\n", Options{CSV: Columns{Time: 1}}, 7, ErrMalformed},
		{"a size that is none", "1,a,10\n1,b,.\n", Options{CSV: Columns{Size: 3}}, 7, ErrMalformed},
		{"a quote left open", "1,a,10\n1,\"b,1\n", Options{Format: CSV}, 7, ErrMalformed},
		{"text after a quote", "1,a,10\n1,\"b\"c,1\n", Options{Format: CSV}, 7, ErrMalformed},
		{"lirs with a word", "*\n5\nx\n", Options{Format: LIRS}, 4, ErrMalformed},
		{"twitter with another operation", "0,k,1,1,1,get,0\n0,k,1,1,1,peek,0\n", Options{Format: Twitter}, 16, ErrMalformed},
		{"twitter with a column less", "0,k,1,1,get,0\n", Options{Format: Twitter}, 0, ErrMalformed},
		{"zstd cut", string(whole[:len(whole)/2]), Options{Format: Int32}, -1, ErrTruncated},
		{"zstd cut in the header", string(whole[:5]), Options{Format: Int32}, 0, ErrTruncated},
		{"zstd that wants a large window", string(wide), Options{Format: Lines}, 0, ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := NewReader(strings.NewReader(c.content), "some.trace", c.opts)
			if err == nil {
				_, err = collect(r)
			}
			var e *Error
			if !errors.Is(err, c.want) || !errors.As(err, &e) {
				t.Fatalf("got %v, want an *Error that is %v", err, c.want)
			}
			if c.offset >= 0 && e.Offset != c.offset {
				t.Errorf("at byte %d, want %d", e.Offset, c.offset)
			}
			if !strings.Contains(err.Error(), "some.trace") {
				t.Errorf("%q does not name the file", err)
			}
		})
	}
}

func TestColumnsAreParsed(t *testing.T) {
	for _, text := range []string{
		"time-col=2, obj-id-col=5, obj-size-col=4, delimiter=,, has-header=true",
		"delimiter=,,has-header=1,obj-id-is-num=1,time-col=2,obj-id-col=5,obj-size-col=4",
		"time-col=2,obj-id-col=5,obj-size-col=4,has-header=true,delimiter=,",
	} {
		c, err := ParseColumns(text)
		if err != nil || c.Time != 2 || c.ID != 5 || c.Size != 4 || c.Delimiter != ',' || c.Header == nil || !*c.Header {
			t.Errorf("%q: %+v, %v", text, c, err)
		}
	}
	if c, err := ParseColumns(`delimiter=\t, has-header=false`); err != nil || c.Delimiter != '\t' || c.Header == nil || *c.Header {
		t.Errorf("%+v, %v", c, err)
	}
	_, err := ParseColumns("time-col=0, obj-id-col=many, has-header=perhaps, delimiter=ab, op-col=3")
	for _, want := range []string{"time-col=0", "obj-id-col=many", "has-header=perhaps", "delimiter=ab", "op-col"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, opts := range []Options{
		{Format: "int16"},
		{Format: ARC, CSV: Columns{ID: 1}},
		{CSV: Columns{ID: -1}},
		{CSV: Columns{Size: maxColumn + 1}},
		{CSV: Columns{Delimiter: '"'}},
	} {
		if _, err := NewReader(strings.NewReader("a\n"), "x", opts); err == nil {
			t.Errorf("took %+v", opts)
		}
	}
}

// FuzzColumns reads any text as a table with any columns: the keys are never more than the lines, and an error has a
// place.
func FuzzColumns(f *testing.F) {
	for _, seed := range []string{cloudPhysics, twitter, "1,\"a\"\"\",2\n3,\"b,\n", "\t\t\n", "*\n1\n", "time|key|size\n1|k|2\n"} {
		f.Add(seed, "")
		f.Add(seed, "obj-id-col=1,delimiter=;,has-header=0")
		f.Add(seed, "time-col=1, obj-id-col=2, obj-size-col=3, delimiter=,, has-header=true")
	}
	f.Fuzz(func(t *testing.T, text, columns string) {
		c, err := ParseColumns(columns)
		if err != nil {
			return
		}
		r, err := NewReader(strings.NewReader(text), "fuzz", Options{Format: CSV, CSV: c})
		var keys []uint64
		if err == nil {
			keys, err = collect(r)
		}
		var e *Error
		if err != nil && !errors.As(err, &e) {
			t.Fatalf("an error of no place: %v", err)
		}
		packed := slices.ContainsFunc([][]byte{gzipMagic, xzMagic, zstdMagic}, func(magic []byte) bool { return strings.HasPrefix(text, string(magic)) })
		if lines := strings.Count(text, "\n") + 1; !packed && len(keys) > lines {
			t.Fatalf("%d keys of %d lines", len(keys), lines)
		}
	})
}
