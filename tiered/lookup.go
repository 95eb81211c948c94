package tiered

import (
	"context"
	"errors"
	"time"

	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/remote"
)

// state is what a tier has for a key.
type state uint8

const (
	miss        state = iota // nothing, or what must not be used
	hit                      // a value to serve
	dueHit                   // a value to serve, due to be refreshed; of the local tier only
	negativeHit              // the record that there is no such entry, to serve
	stale                    // a value past its life, which may serve when a load fails; or a remote record that is to be replaced

	// Of the remote tier only:

	leased           // a load is under way elsewhere
	leaseInvalidated // likewise, and what it loads was invalidated since
	corrupt          // a record that does not decode; it may be replaced
	unknownFormat    // a record of a later version, or another Redis type: it is left alone
)

// served reports whether a caller is given a value, and loads nothing for itself.
func (s state) served() bool { return s == hit || s == dueHit }

// lookup is what a tier has for a key.
type lookup[V any] struct {
	state state
	value *V           // of a hit, and of a stale record that may serve when a load fails
	entry *local.Entry // of a local copy that is due or stale
}

// kept returns a stale local copy, to be held until a load has failed; nil for any other.
func (l lookup[V]) kept() *kept[V] {
	if l.state != stale {
		return nil
	}
	return &kept[V]{value: l.value, entry: l.entry}
}

// classifyRemote returns what a remote read gave. Its error is the user's: ErrNotFound where there is
// no entry that can be read, a *DecodeError, or why the remote tier could not be read. known has the
// versions of tags, where they were read already.
func (s *shared[V]) classifyRemote(ctx context.Context, now time.Time, hash uint64, key string, rec *remote.Record, err error, known *tagVersions) (lookup[V], error) {
	if err != nil {
		return s.classifyRemoteError(key, err)
	}
	lease := rec.Kind == remote.KindLease
	if rec.Stamp < s.validity.MinID(hash) {
		if lease {
			return lookup[V]{state: leaseInvalidated}, nil
		}
		return lookup[V]{state: stale}, nil
	}
	intact, err := s.tagsIntact(ctx, rec.Tags, known)
	switch {
	case err != nil:
		return lookup[V]{}, err
	case lease && intact:
		return lookup[V]{state: leased}, nil
	case lease:
		return lookup[V]{state: leaseInvalidated}, nil
	case len(rec.Tags) > 0 && rec.Stamp < s.validity.MinID(hash):
		intact = false // a floor was raised while the tags were read, perhaps in the place of one of them
	}
	if !intact || (rec.Kind == remote.KindNegative && rec.Expired(now)) {
		return lookup[V]{state: stale}, nil
	}
	if rec.Kind == remote.KindNegative {
		return lookup[V]{state: negativeHit}, nil
	}
	v, err := s.decode(key, rec)
	if err != nil {
		return lookup[V]{state: corrupt}, err
	}
	if rec.Expired(now) {
		return lookup[V]{state: stale, value: v}, nil
	}
	return lookup[V]{state: hit, value: v}, nil
}

func (s *shared[V]) classifyRemoteError(key string, err error) (lookup[V], error) {
	var version *remote.UnknownVersionError
	switch {
	case errors.Is(err, ErrNotFound):
		return lookup[V]{}, ErrNotFound
	case errors.As(err, &version):
		s.counts.foreign.Add(1)
		return lookup[V]{state: unknownFormat}, ErrNotFound
	case errors.Is(err, remote.ErrMalformed):
		s.counts.decodeErrors.Add(1)
		return lookup[V]{state: corrupt}, &DecodeError{Key: key, Codec: s.codec.Name(), Err: err}
	case errors.Is(err, ErrWrongType):
		return lookup[V]{state: unknownFormat}, err
	}
	return lookup[V]{}, err
}
