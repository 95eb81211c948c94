package tiered

import (
	"sync"

	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/remote"
)

// sightings keeps the reads of one instance from going back in time: after a read of a key has
// returned, no read that begins later returns an older record of it.
//
// A remote read shows what its key held at some moment between its beginning and its end. So of two
// reads of which one began after the other had ended, the later one saw the newer record, or the
// same. Only reads that overlap can be taken for each other: of two such reads with different
// records, the one that ends last must not replace the local copy of the other unless its record is
// known to be the newer. To find that out, each read under way has a view here, and whatever a read
// returns is noted for as long as another view of the key's hash is open. There is nothing here
// while nothing is read.
//
// Keys with equal hashes share an entry, which at worst drops a local copy that need not be dropped.
type sightings struct{ shards [sightingShards]sightingShard }

const (
	sightingShards = 64
	// fewWatched is how many keys a shard may have had open at once before its map is given back to the allocator.
	fewWatched = 256
)

type sightingShard struct {
	mu     sync.Mutex
	noted  uint64             // how many sightings were noted so far; guarded by mu
	most   int                // the largest length of byHash since it was made; guarded by mu
	byHash map[uint64]watched // guarded by mu
	_      [32]byte           // shards do not share a cache line
}

// watched is what was seen of a key since the first of its open views began. Numbers are counts of sightingShard.noted.
type watched struct {
	views   int
	last    sighting // the newest known
	at      uint64   // when last was noted
	found   uint64   // when a sighting that found something was noted last
	unclear uint64   // when one was noted last of which nobody knows whether it is newer than those before
}

// sighting is what a read saw, or a load or change left.
type sighting struct {
	found   bool         // a value, or the record that says that there is none; false: nothing that can be served
	loaded  bool         // it is a loader's word, and not a record of the remote tier
	token   remote.Token // of the record; zero: not known, or there is none
	over    remote.Token // of the record that it is known to have replaced; zero: not known
	stamp   uint64
	created int64 // Unix ms by the server's clock; 0: not known
}

// readFrom is the sighting of a record that was read from the remote tier.
func readFrom(rec *remote.Record) sighting {
	return sighting{found: true, token: rec.Token, stamp: rec.Stamp, created: rec.Created.UnixMilli()}
}

// missedAt is the sighting of what can not be served: nothing, or a lease, which its fill replaces.
func missedAt(rec *remote.Record) sighting {
	if rec.Kind == remote.KindLease {
		return sighting{token: rec.Token}
	}
	return sighting{}
}

// storedAs is the sighting of a record that this instance has stored, in place of the one whose
// token was seen. When it was stored is not known.
func storedAs(rec *remote.Record, seen []byte) sighting {
	x := sighting{found: true, token: rec.Token, stamp: rec.Stamp}
	copy(x.over[:], seen)
	return x
}

func (x *sighting) same(y *sighting) bool {
	return x.found == y.found && x.token == y.token && (!x.found || x.token != remote.Token{})
}

// newer reports whether x is known to be newer than y. A server's clock may be set back, and the
// ids that stamps are may be those of loads that began long before: both have to agree.
func (x *sighting) newer(y *sighting) bool {
	if x.over != (remote.Token{}) && x.over == y.token {
		return true
	}
	return y.created != 0 && x.created > y.created && x.stamp >= y.stamp
}

// standing is how a sighting stands to those that were noted since its view began.
type standing uint8

const (
	newest standing = iota
	same            // it is the newest of them, again
	older
	unclear
)

// view is a look at a key that is under way. Its zero value is that of a client without a remote
// tier, and does nothing.
type view struct {
	shard *sightingShard
	hash  uint64
	since uint64 // what was noted up to here was seen before the look began. Guarded by shard.mu where others ask for it
}

// begin opens a view of the keys with a hash. It is called before anything is asked for, and followed by end.
func (s *sightings) begin(hash uint64) view {
	h := &s.shards[hash>>32%sightingShards]
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.byHash == nil {
		h.byHash = make(map[uint64]watched)
	}
	w := h.byHash[hash]
	w.views++
	h.byHash[hash] = w
	h.most = max(h.most, len(h.byHash))
	return view{shard: h, hash: hash, since: h.noted}
}

// again begins the look anew: what is asked for from now on shows nothing from before.
func (v *view) again() {
	if v.shard == nil {
		return
	}
	v.shard.mu.Lock()
	defer v.shard.mu.Unlock()
	v.since = v.shard.noted
}

// reach makes the look one that began earlier.
func (v *view) reach(since uint64) {
	if v.shard == nil {
		return
	}
	v.shard.mu.Lock()
	defer v.shard.mu.Unlock()
	v.since = since
}

// end closes the view. It is called once.
func (v *view) end() {
	h := v.shard
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	w := h.byHash[v.hash]
	if w.views--; w.views > 0 {
		h.byHash[v.hash] = w
		return
	}
	delete(h.byHash, v.hash)
	if len(h.byHash) == 0 && h.most > fewWatched {
		h.byHash, h.most = nil, 0
	}
}

// now is what was noted so far.
func (v *view) now() uint64 {
	if v.shard == nil {
		return 0
	}
	v.shard.mu.Lock()
	defer v.shard.mu.Unlock()
	return v.shard.noted
}

// foundSince reports whether something was found since.
func (v *view) foundSince(since uint64) bool {
	if v.shard == nil {
		return false
	}
	v.shard.mu.Lock()
	defer v.shard.mu.Unlock()
	return v.shard.byHash[v.hash].found > since
}

// passed reports whether a record was seen since the look began that was not seen before: what the
// look gives may be older.
func (v *view) passed() bool {
	if v.shard == nil {
		return false
	}
	v.shard.mu.Lock()
	defer v.shard.mu.Unlock()
	w := v.shard.byHash[v.hash]
	return w.last.found && w.at > v.since
}

// noteLocked notes what the look gave, unless that is older than what others saw. beside reports
// whether one of those found something since the look began.
func (v *view) noteLocked(x *sighting) (how standing, beside bool) {
	w := v.shard.byHash[v.hash]
	beside = w.found > v.since
	since := w.at
	if x.loaded {
		since = w.found // that others found nothing says nothing about the source
	}
	switch {
	case since <= v.since:
		how = newest
	case x.same(&w.last) && w.unclear <= v.since:
		return same, beside
	case w.unclear > v.since:
		how = unclear
	case x.newer(&w.last):
		how = newest
	case w.last.newer(x):
		return older, beside
	default:
		how = unclear
	}
	v.shard.noted++
	w.last, w.at = *x, v.shard.noted
	if x.found {
		w.found = w.at
	}
	if how == unclear {
		w.unclear = w.at
	}
	v.shard.byHash[v.hash] = w
	return how, beside
}

// conclude notes what a view that found something saw, and makes e, its local copy, the one that is
// read from now on, or none if e is nil. Of two copies the one with the newer record wins; where
// that cannot be told, neither stays. overtaken reports that the look may be older than what others
// have seen since it began: who came after those must not be given it.
func (s *shared[V]) conclude(v *view, x sighting, hash uint64, key string, e *local.Entry) (overtaken bool) {
	co := s.client.co
	v.shard.mu.Lock() // held while the copy is stored: what is noted later replaces it
	defer v.shard.mu.Unlock()
	how, beside := v.noteLocked(&x)
	switch how {
	case older:
		return true
	case unclear:
		co.table.Raise(hash)
		return true
	case newest:
		v.since = v.shard.noted // its own sighting has not passed it
	case same:
	}
	if e == nil {
		s.scope.Delete(hash, key)
		return false
	}
	stamp := e.Stamp.Load()
	if how == newest && beside {
		// The copies of those that it is newer than may be on their way to the local tier: the raised position ends them.
		var tags []uint64
		if m, _ := e.Meta.(*meta); m != nil {
			tags = m.tags
		}
		raised, clean := co.conclude(s.floors, stamp, []uint64{hash}, tags)
		if !clean {
			return false
		}
		stamp = raised
		e.Stamp.Store(stamp)
	}
	if how == newest || stamp >= s.floors.near.Load() && co.table.Valid(hash, stamp) { // else a copy that is valid may be there
		s.scope.Set(hash, e)
	}
	return false
}

// saw notes what a view saw of which no local copy is made, and drops a local copy that says
// otherwise. A handle of After is ahead of the others of its instance: what it does not find, they
// may have until they hear of it.
func (c *Cache[V]) saw(v *view, x sighting, hash uint64, key string) {
	c.shared.saw(v, x, hash)
	if len(c.after) == 0 && c.contradicted(x.found, hash, key) {
		c.client.co.table.Raise(hash)
	}
}

// saw notes what a view saw of which no local copy is made.
func (s *shared[V]) saw(v *view, x sighting, hash uint64) {
	v.shard.mu.Lock()
	defer v.shard.mu.Unlock()
	how, beside := v.noteLocked(&x)
	if !x.found && beside && (how == newest || how == unclear) {
		s.client.co.table.Raise(hash)
	}
}

// contradicted reports whether there is a valid local copy within its life that says that there is
// something where nothing was found, or the other way round.
func (s *shared[V]) contradicted(found bool, hash uint64, key string) bool {
	e := s.scope.Peek(hash, key)
	if e == nil || e.Stamp.Load() < s.floors.near.Load() || !s.client.co.table.Valid(hash, e.Stamp.Load()) {
		return false
	}
	until, negative := e.Fresh, false
	if m, _ := e.Meta.(*meta); m != nil {
		until, negative = m.until, m.negative
	}
	return negative == found && local.Monotonic() < until
}

// view opens a view of a key's hash.
func (s *shared[V]) view(hash uint64) view {
	if s.client.co == nil {
		return view{}
	}
	return s.client.co.sightings.begin(hash)
}

// views opens views of many.
func (s *shared[V]) views(hashes []uint64) []view {
	out := make([]view, len(hashes))
	for i, h := range hashes {
		out[i] = s.view(h)
	}
	return out
}

func endAll(views []view) {
	for i := range views {
		views[i].end()
	}
}
