package codec

import "sync"

// maxPooledScratch keeps one huge value from pinning its buffer for the life of the process.
const maxPooledScratch = 1 << 20

// scratch is a buffer on loan. Whoever grows b stores it back, so that the next borrower profits.
type scratch struct{ b []byte }

var scratchPool = sync.Pool{New: func() any { return new(scratch) }}

func getScratch() *scratch { return scratchPool.Get().(*scratch) }

func putScratch(s *scratch) {
	if cap(s.b) <= maxPooledScratch {
		s.b = s.b[:0]
		scratchPool.Put(s)
	}
}
