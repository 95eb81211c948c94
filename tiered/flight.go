package tiered

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/singleflight"

	"github.com/doppio-cache/doppio/internal/coherence"
)

// flight is one load of a key, and those who wait for it.
type flight[V any] struct {
	coherence.Point                      // what was known when it began: a caller may join only if nothing newer is known about its key, or about its tags
	after           []coherence.Position // what its far read must see: see Cache.After
	view            coherence.View       // what others see of the key meanwhile
	first           uint64               // what had been seen when the flight began
	live            bool                 // it began while the near tier was coherent
	cancel          context.CancelFunc
	busy            chan struct{} // closed when it waits for another instance's load
	stale           keptCopies[V]

	// A flight that is one key of a batch has no goroutine of its own: who waits for it waits for done.
	done chan struct{} // closed when the flight has landed; nil for the flight of a single key, which the group tells of
	end  landing[V]    // set before done is closed
	err  error         // likewise

	tags    []uint64 // guarded by flights.mu: hashes of the tags of what is being loaded, and of what the far tier holds
	waiters int      // guarded by flights.mu
	landed  bool     // guarded by flights.mu
}

// landing is what a flight gives all who wait for it.
type landing[V any] struct {
	value  *V
	answer Answer

	// What overtook it was seen by others while it was being read or loaded, after since: callers
	// who joined after that may be among those, and are not given it.
	overtaken bool
	since     uint64
}

// noteFailure notes, of a load that failed, whether others have seen what there is: the values past
// their life that may serve in its place are from before.
func (f *flight[V]) noteFailure(l *landing[V], err error) {
	if failed := (*LoadError)(nil); errors.As(err, &failed) {
		l.overtaken, l.since = f.view.FoundSince(f.first), f.first
	}
}

// flights runs one load of a key at a time, by x/sync's singleflight; the keys of a batch, which has one goroutine for all
// of them, are registered in byKey alone. What that lacks is added here: a caller joins
// only a flight that is recent enough for it, and leaves when its own context ends; a flight that nobody waits for any
// more is taken out first and cancelled then, so that nobody can join what is about to fail; and what a load does to
// its goroutine reaches nobody (see run and Client.runLoader).
type flights[V any] struct {
	group singleflight.Group

	mu      sync.Mutex
	byKey   map[string]*flight[V]
	looking map[string]struct{} // keys that a caller looks for in the far tier by itself
}

// join gives the flight of key that began late enough, or a new one, in which case begin is called, with the lock held,
// for what it shall do and its stamp. begin gives nil when the client is closed. The channel gives the landing; it is nil
// for a flight that is one key of a batch, for which begin gives nothing to do.
func (fs *flights[V]) join(key string, valid func(*flight[V]) bool, begin func() (f *flight[V], run func() (landing[V], error))) (*flight[V], <-chan singleflight.Result, bool) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.joinLocked(key, valid, begin)
}

func (fs *flights[V]) joinLocked(key string, valid func(*flight[V]) bool, begin func() (f *flight[V], run func() (landing[V], error))) (*flight[V], <-chan singleflight.Result, bool) {
	f, led := fs.byKey[key], false
	if f != nil && !valid(f) {
		fs.remove(key)
		f = nil
	}
	var run func() (landing[V], error)
	if f == nil {
		if f, run = begin(); f == nil {
			return nil, nil, false
		}
		fs.byKey[key] = f
		led = true
	}
	f.waiters++
	if f.done != nil {
		return f, nil, led // the group has no call for it
	}
	// While byKey holds the flight, the group holds its call: both are changed under mu only.
	ch := fs.group.DoChan(key, func() (any, error) {
		l, err := run()
		fs.land(key, f)
		return l, err
	})
	return f, ch, led
}

// lead begins a flight of key that nobody waits for, unless there is one that a caller could join.
func (fs *flights[V]) lead(key string, valid func(*flight[V]) bool, begin func() (f *flight[V], run func() (landing[V], error))) (led bool) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f := fs.byKey[key]; f != nil && valid(f) {
		return false
	}
	_, _, led = fs.joinLocked(key, valid, begin)
	return led
}

// carries adds to the tags that a flight depends on. It is called before their versions are asked for: who joins after
// one of them was invalidated is turned away, and who joined before gets what those versions say.
func (fs *flights[V]) carries(f *flight[V], tags []uint64) {
	if len(tags) == 0 {
		return
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f.tags = append(f.tags, tags...)
}

// look tells whether a caller of key may look into the far tier by itself: not while there is a flight, which it may be able to join,
// or while another looks, since of many callers one is enough. Whoever may ends it with looked.
func (fs *flights[V]) look(key string) bool {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if _, busy := fs.looking[key]; busy || fs.byKey[key] != nil {
		return false
	}
	fs.looking[key] = struct{}{}
	return true
}

func (fs *flights[V]) looked(key string) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	delete(fs.looking, key)
}

// conclude ends a flight that is one key of a batch.
func (fs *flights[V]) conclude(key string, f *flight[V], end landing[V], err error) {
	f.end, f.err = end, err
	fs.land(key, f)
	close(f.done)
}

func (fs *flights[V]) land(key string, f *flight[V]) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f.landed = true
	f.view.End()
	if fs.byKey[key] == f {
		fs.remove(key)
	}
	f.cancel()
}

// leave takes a caller off a flight, and ends the flight with its last caller.
func (fs *flights[V]) leave(key string, f *flight[V]) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f.waiters--; f.waiters > 0 || f.landed {
		return
	}
	if fs.byKey[key] == f {
		fs.remove(key)
	}
	f.cancel()
}

func (fs *flights[V]) remove(key string) {
	delete(fs.byKey, key)
	fs.group.Forget(key)
}
