package local

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// expiryBucketWidth is the width of a bucket of entries that expire soon.
	expiryBucketWidth = int64(5 * time.Second)
	// lifetimeFraction bounds the lateness of the other entries: a bucket is at most this part of
	// the remaining lifetime wide, so that long lifetimes do not make many buckets.
	lifetimeFraction = 64
	expiryShards     = 8
	expiryBatch      = 256 // entries that are taken under one lock
)

// expirer removes entries that have expired and that no caller reads. It keeps them in buckets by
// the time at which the whole bucket has expired, as lists through the entries, and sleeps until
// the first of these times. An entry that dies in another way leaves its bucket at once.
type expirer struct {
	clock  func() int64
	remove func(*Entry)

	shards [expiryShards]expiryShard

	due  atomic.Int64 // when the goroutine runs next; math.MaxInt64: never
	wake chan struct{}
	stop chan struct{}
	done chan struct{}
}

// expiryShard has the innermost lock: engines hold locks of their own while they remove entries, so
// nothing is called under it.
type expiryShard struct {
	mu      sync.Mutex
	buckets map[int64]*Entry // due time → head of a ring, which is no entry
	_       [48]byte
}

func newExpirer(clock func() int64) *expirer {
	r := &expirer{
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

// start starts the goroutine, which calls remove with no lock held.
func (r *expirer) start(drop func(*Entry)) {
	r.remove = drop
	go r.run()
}

func (r *expirer) close() {
	close(r.stop)
	<-r.done
}

func (r *expirer) shard(e *Entry) *expiryShard { return &r.shards[e.hash>>32%expiryShards] }

// add puts e into the bucket of its expiry.
func (r *expirer) add(e *Entry) {
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
	r.wakeBy(due)
}

// bucketOf returns the time at which the bucket of expires has expired as a whole. ok is false for
// times that no clock reaches.
func bucketOf(expires, now int64) (due int64, ok bool) {
	width := expiryBucketWidth
	for width < timeLeft(expires, now)/lifetimeFraction/2 {
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

// timeLeft returns due-now, or the largest number if that overflows: clocks may read less than
// zero.
func timeLeft(due, now int64) int64 {
	if d := due - now; d >= 0 || due < now {
		return d
	}
	return math.MaxInt64
}

// forget takes e out of its bucket, if it is in one.
func (r *expirer) forget(e *Entry) {
	if e.Expires == Never {
		return
	}
	s := r.shard(e)
	s.mu.Lock()
	s.unlink(e)
	s.mu.Unlock()
}

func (s *expiryShard) unlink(e *Entry) {
	if e.prev == nil {
		return
	}
	e.prev.next, e.next.prev = e.next, e.prev
	e.prev, e.next = nil, nil
}

// wakeBy makes the goroutine run at the time due at the latest.
func (r *expirer) wakeBy(due int64) {
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

func (r *expirer) run() {
	defer close(r.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Stop()
		if due := r.due.Load(); due != math.MaxInt64 {
			// A clock that stands still is read again, but not in a tight loop.
			timer.Reset(time.Duration(max(timeLeft(due, r.clock()), int64(time.Millisecond))))
		}
		select {
		case <-r.stop:
			return
		case <-r.wake:
		case <-timer.C:
		}
		if now := r.clock(); now >= r.due.Load() {
			r.removeExpired(now)
		}
	}
}

// removeExpired removes the entries of every bucket that is due, and sets the time of the next run.
func (r *expirer) removeExpired(now int64) {
	// The time is reset before the search: an entry that is added in between is found, or sets the
	// time.
	r.due.Store(math.MaxInt64)
	next := int64(math.MaxInt64)
	batch := make([]*Entry, 0, expiryBatch)
	for i := range r.shards {
		s := &r.shards[i]
		for more := true; more; {
			batch, next, more = s.takeDue(batch[:0], now, next)
			for _, e := range batch {
				r.remove(e)
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
		r.wakeBy(next)
	}
}

// takeDue moves entries that are due into batch, up to its capacity. more says that it may not have
// taken all. It lowers next to the time of the first bucket that is not due.
func (s *expiryShard) takeDue(batch []*Entry, now, next int64) (_ []*Entry, _ int64, more bool) {
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
			s.unlink(e)
			batch = append(batch, e)
		}
		delete(s.buckets, due)
	}
	return batch, next, false
}
