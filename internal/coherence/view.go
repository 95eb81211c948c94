package coherence

import (
	"sync"

	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/remote"
)

// views keep the reads of one instance from going back in time: after a read of a key has returned,
// no read that begins later returns an older record of it.
//
// A remote read shows what its key held at some moment between its beginning and its end. So of two
// reads of which one began after the other had ended, the later one saw the newer record, or the
// same. Only reads that overlap can be taken for each other: of two such reads with different
// records, the one that ends last must not replace the local copy of the other unless its record is
// known to be the newer. To find that out, each read under way has a view here, and whatever a read
// returns is noted for as long as another view of the key's hash is open. There is nothing here
// while nothing is read.
//
// Keys with equal hashes share an entry, which at worst drops a local copy that need not be
// dropped.
type views struct{ shards [viewShards]viewShard }

const (
	viewShards = 64
	// fewWatched is how many keys a shard may have had open at once before its map is given back to
	// the allocator.
	fewWatched = 256
)

type viewShard struct {
	mu     sync.Mutex
	noted  uint64             // how many sightings were noted so far; guarded by mu
	most   int                // the largest length of byHash since it was made; guarded by mu
	byHash map[uint64]watched // guarded by mu
	_      [32]byte           // shards do not share a cache line
}

// watched is what was seen of a key since the first of its open views began. Numbers are counts of
// viewShard.noted.
type watched struct {
	views   int
	last    Sighting // the newest known
	at      uint64   // when last was noted
	found   uint64   // when a sighting that found something was noted last
	unclear uint64   // when one was noted last that may be older or newer than those before
}

// Sighting is what a read saw, or a load or change left.
type Sighting struct {
	Found    bool         // a value, or the record that says that there is none; false: nothing that can be served
	Loaded   bool         // it comes from a loader, and is no record of the remote tier
	Token    remote.Token // of the record; zero: not known, or there is none
	Replaced remote.Token // of the record that it is known to have replaced; zero: not known
	Stamp    uint64
	Created  int64 // Unix ms by the server's clock; 0: not known
}

// SeenAt is the sighting of a record that was read from the remote tier.
func SeenAt(rec *remote.Record) Sighting {
	return Sighting{Found: true, Token: rec.Token, Stamp: rec.Stamp, Created: rec.Created.UnixMilli()}
}

// MissedAt is the sighting of what can not be served: nothing, or a lease, which its fill replaces.
func MissedAt(rec *remote.Record) Sighting {
	if rec.Kind == remote.KindLease {
		return Sighting{Token: rec.Token}
	}
	return Sighting{}
}

// StoredAs is the sighting of a record that this instance has stored, in place of the one whose
// token was expected. When it was stored is not known.
func StoredAs(rec *remote.Record, expected []byte) Sighting {
	x := Sighting{Found: true, Token: rec.Token, Stamp: rec.Stamp}
	copy(x.Replaced[:], expected)
	return x
}

func (x *Sighting) same(y *Sighting) bool {
	return x.Found == y.Found && x.Token == y.Token && (!x.Found || x.Token != remote.Token{})
}

// newer reports whether x is known to be newer than y. A server's clock may be set back, and the
// ids that stamps are may be those of loads that began long before: both have to agree.
func (x *Sighting) newer(y *Sighting) bool {
	if x.Replaced != (remote.Token{}) && x.Replaced == y.Token {
		return true
	}
	return y.Created != 0 && x.Created > y.Created && x.Stamp >= y.Stamp
}

// standing is how a sighting stands to those that were noted since its view began.
type standing uint8

const (
	newest standing = iota
	same            // it is the newest of them, again
	older
	unclear
)

// View is a look at a key that is under way. Its zero value is that of a client without a remote
// tier, and does nothing.
type View struct {
	shard *viewShard
	hash  uint64
	since uint64 // what was noted up to here was seen before the look began. Guarded by shard.mu where others ask for it
}

// View opens a view of the keys with a hash, before anything is asked for. It is followed by End.
func (m *Manager) View(hash uint64) View {
	h := &m.views.shards[hash>>32%viewShards]
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.byHash == nil {
		h.byHash = make(map[uint64]watched)
	}
	w := h.byHash[hash]
	w.views++
	h.byHash[hash] = w
	h.most = max(h.most, len(h.byHash))
	return View{shard: h, hash: hash, since: h.noted}
}

// Hash is the hash that the view is of.
func (v *View) Hash() uint64 { return v.hash }

// Restart begins the look anew: what is asked for from now on shows nothing from before. It returns
// the moment.
func (v *View) Restart() (since uint64) {
	if v.shard == nil {
		return 0
	}
	v.shard.mu.Lock()
	defer v.shard.mu.Unlock()
	v.since = v.shard.noted
	return v.since
}

// Reach makes the look one that began earlier.
func (v *View) Reach(since uint64) {
	if v.shard == nil {
		return
	}
	v.shard.mu.Lock()
	defer v.shard.mu.Unlock()
	v.since = since
}

// Since is the moment at which the look began. Only the goroutine that has the view may call it.
func (v *View) Since() uint64 { return v.since }

// End closes the view. It is called once.
func (v *View) End() {
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

// Now is the present moment.
func (v *View) Now() uint64 {
	if v.shard == nil {
		return 0
	}
	v.shard.mu.Lock()
	defer v.shard.mu.Unlock()
	return v.shard.noted
}

// FoundSince reports whether something was found since a moment.
func (v *View) FoundSince(since uint64) bool {
	if v.shard == nil {
		return false
	}
	v.shard.mu.Lock()
	defer v.shard.mu.Unlock()
	return v.shard.byHash[v.hash].found > since
}

// Passed reports whether a record was seen since the look began that was not seen before: what the
// look gives may be older.
func (v *View) Passed() bool {
	if v.shard == nil {
		return false
	}
	v.shard.mu.Lock()
	defer v.shard.mu.Unlock()
	w := v.shard.byHash[v.hash]
	return w.last.Found && w.at > v.since
}

// noteLocked notes what the look gave, unless that is older than what others saw. beside reports
// whether one of those found something since the look began.
func (v *View) noteLocked(x *Sighting) (how standing, beside bool) {
	w := v.shard.byHash[v.hash]
	beside = w.found > v.since
	since := w.at
	if x.Loaded {
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
	if x.Found {
		w.found = w.at
	}
	if how == unclear {
		w.unclear = w.at
	}
	v.shard.byHash[v.hash] = w
	return how, beside
}

// Note notes what a view saw of which no local copy is made.
func (c *Cache) Note(v *View, x Sighting) {
	v.shard.mu.Lock()
	defer v.shard.mu.Unlock()
	how, beside := v.noteLocked(&x)
	if !x.Found && beside && (how == newest || how == unclear) {
		c.table.Raise(v.hash)
	}
}

// Keep notes what a view that found something saw, and makes e, its local copy with these tags, the
// one that is read from now on, or none if e is nil. Of two copies the one with the newer record
// wins; where that cannot be told, neither stays. overtaken reports that the look may be older than
// what others have seen since it began: callers that came after those must not be given it.
func (c *Cache) Keep(v *View, x Sighting, scope *local.Scope, key string, e *local.Entry, tags []uint64) (overtaken bool) {
	v.shard.mu.Lock() // held while the copy is stored: what is noted later replaces it
	defer v.shard.mu.Unlock()
	how, beside := v.noteLocked(&x)
	switch how {
	case older:
		return true
	case unclear:
		c.table.Raise(v.hash)
		return true
	case newest:
		v.since = v.shard.noted // its own sighting has not passed it
	case same:
	}
	if e == nil {
		scope.Delete(v.hash, key)
		return false
	}
	stamp := e.Stamp.Load()
	if how == newest && beside {
		// The copies of those that it is newer than may be on their way to the local tier: the
		// raised position ends them.
		raised, unchanged := c.Conclude(stamp, []uint64{v.hash}, tags)
		if !unchanged {
			return false
		}
		stamp = raised
		e.Stamp.Store(stamp)
	}
	if how == newest || c.Valid(v.hash, stamp) { // else a copy that is valid may be there
		scope.Set(v.hash, e)
	}
	return false
}
