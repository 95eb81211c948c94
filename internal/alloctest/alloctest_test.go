package alloctest

import (
	"sync"
	"testing"
)

// recorder is a test that may fail without harm.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Errorf(string, ...any) { r.failed = true }

var sink []byte

func TestAtMost_failsWhenTooMuchIsAllocated(t *testing.T) {
	pool := sync.Pool{New: func() any { return make([]byte, 0) }}
	once := true
	for _, c := range []struct {
		name string
		f    func()
		fail bool
	}{
		{"nothing", func() {}, false},
		{"little", func() { sink = make([]byte, 1<<10) }, false},
		{"much", func() { sink = make([]byte, 1<<20) }, true},
		{"much, by others, once", func() {
			if once {
				once, sink = false, make([]byte, 1<<20)
			}
		}, false},
		{"much, kept in a pool", func() {
			b := pool.Get().([]byte)
			if cap(b) < 1<<20 {
				b = make([]byte, 1<<20)
			}
			pool.Put(b) //nolint:staticcheck // that it allocates a little is no matter here
		}, true},
	} {
		r := &recorder{TB: t}
		AtMost(r, 1<<18, c.name, c.f)
		if r.failed != c.fail {
			t.Errorf("%s: failed is %t", c.name, r.failed)
		}
	}
}
