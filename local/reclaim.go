package local

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// reclaimWidth is the width of a bucket of entries that expire soon.
	reclaimWidth = int64(5 * time.Second)
	// reclaimFraction bounds the lateness of the others: a bucket is at most this part of the remaining
	// lifetime wide, so that long lifetimes do not make many buckets.
	reclaimFraction = 64
	reclaimShards   = 8
	reclaimChunk    = 256 // entries taken under one lock
)

// reclaimer removes entries that have expired and that nobody reads. It keeps them in buckets by the time
// at which the bucket as a whole has expired, as lists through the entries, and sleeps until the first of
// these times. An entry that dies otherwise leaves its bucket at once.
type reclaimer struct {
	clock func() int64
	drop  func(*Entry)

	shards [reclaimShards]reclaimShard

	due  atomic.Int64 // when the goroutine looks next; math.MaxInt64: not at all
	wake chan struct{}
	stop chan struct{}
	done chan struct{}
}

// reclaimShard's lock is innermost: engines hold locks of theirs while they bury, so nothing is called
// under it.
type reclaimShard struct {
	mu      sync.Mutex
	buckets map[int64]*Entry // due time → head of a ring; the head is no entry
	_       [48]byte
}

func newReclaimer(clock func() int64) *reclaimer {
	r := &reclaimer{
		clock: clock,
		wake:  make(chan struct{}, 1),
		stop:  make(chan struct{}),
		done:  make(chan struct{}),
	}
	for i := range r.shards {
		r.shards[i].buckets = make(map[int64]*Entry)
	}
	r.due.Store(math.MaxInt64)
	return r
}

// start runs the goroutine; drop is called from it, with no lock held.
func (r *reclaimer) start(drop func(*Entry)) {
	r.drop = drop
	go r.run()
}

func (r *reclaimer) close() {
	close(r.stop)
	<-r.done
}

func (r *reclaimer) shard(e *Entry) *reclaimShard { return &r.shards[e.hash>>32%reclaimShards] }

// link puts e into the bucket of its expiry.
func (r *reclaimer) link(e *Entry) {
	if e.Expires == Never {
		return
	}
	due, ok := bucketOf(e.Expires, r.clock())
	if !ok {
		return
	}
	s := r.shard(e)
	s.mu.Lock()
	head := s.buckets[due]
	if head == nil {
		head = &Entry{}
		head.prev, head.next = head, head
		s.buckets[due] = head
	}
	e.prev, e.next = head.prev, head
	head.prev.next, head.prev = e, e
	s.mu.Unlock()
	r.lookBy(due)
}

// bucketOf returns the time at which the bucket of expires has expired as a whole. It is false for times
// that no clock reaches.
func bucketOf(expires, now int64) (due int64, ok bool) {
	width := reclaimWidth
	for width < until(expires, now)/reclaimFraction/2 {
		width *= 2
	}
	if expires > math.MaxInt64-2*width {
		return 0, false
	}
	due = expires / width * width
	for due < expires {
		due += width
	}
	return due, true
}

// until is due-now, or the largest number when that is larger: clocks may read less than zero.
func until(due, now int64) int64 {
	if d := due - now; d >= 0 || due < now {
		return d
	}
	return math.MaxInt64
}

// unlink takes e out of its bucket, if it is in one.
func (r *reclaimer) unlink(e *Entry) {
	if e.Expires == Never {
		return
	}
	s := r.shard(e)
	s.mu.Lock()
	s.remove(e)
	s.mu.Unlock()
}

func (s *reclaimShard) remove(e *Entry) {
	if e.prev == nil {
		return
	}
	e.prev.next, e.next.prev = e.next, e.prev
	e.prev, e.next = nil, nil
}

// lookBy makes the goroutine look at the time due at the latest.
func (r *reclaimer) lookBy(due int64) {
	for {
		planned := r.due.Load()
		if due >= planned {
			return
		}
		if r.due.CompareAndSwap(planned, due) {
			break
		}
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *reclaimer) run() {
	defer close(r.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Stop()
		if due := r.due.Load(); due != math.MaxInt64 {
			// A clock that stands still is asked again, but not in a tight loop.
			timer.Reset(time.Duration(max(until(due, r.clock()), int64(time.Millisecond))))
		}
		select {
		case <-r.stop:
			return
		case <-r.wake:
		case <-timer.C:
		}
		if now := r.clock(); now >= r.due.Load() {
			r.sweep(now)
		}
	}
}

// sweep drops the entries of every bucket that is due, and plans the next look.
func (r *reclaimer) sweep(now int64) {
	// First forgotten, then searched for: a link in between is found by the search or plans a look itself.
	r.due.Store(math.MaxInt64)
	next := int64(math.MaxInt64)
	batch := make([]*Entry, 0, reclaimChunk)
	for i := range r.shards {
		s := &r.shards[i]
		for more := true; more; {
			batch, next, more = s.take(batch[:0], now, next)
			for _, e := range batch {
				r.drop(e)
			}
			clear(batch)
			select {
			case <-r.stop:
				return
			default:
			}
		}
	}
	if next != math.MaxInt64 {
		r.lookBy(next)
	}
}

// take moves entries that are due into batch, up to its capacity; more says that it may not have taken all.
// It lowers next to the first bucket that is not due.
func (s *reclaimShard) take(batch []*Entry, now, next int64) (_ []*Entry, _ int64, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for due, head := range s.buckets {
		if due > now {
			next = min(next, due)
			continue
		}
		for head.next != head {
			if len(batch) == cap(batch) {
				return batch, next, true
			}
			e := head.next
			s.remove(e)
			batch = append(batch, e)
		}
		delete(s.buckets, due)
	}
	return batch, next, false
}
