package tiered

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/doppio-cache/doppio/internal/codec"
	"github.com/doppio-cache/doppio/remote"
)

// record encodes a value for the remote tier.
func (s *shared[V]) record(key string, v *V, st *settings, tags []remote.Tag) (*remote.Record, error) {
	payload, form, err := s.codec.EncodeBound(nil, s.prefix+key, s.bound(tags), v)
	if err != nil {
		return nil, s.encodeFault(key, err)
	}
	r := &remote.Record{
		Kind: remote.KindValue, Token: remote.NewToken(), Created: time.Now(), TTL: remoteLife(st.ttl, st.jitter), Grace: min(st.failSafe, maxGrace),
		Number: form == codec.Number, Tags: tags, Payload: payload,
	}
	return r, nil
}

// remoteLife is a TTL as records have it (0 is for ever), shortened by jitter.
func remoteLife(ttl, jitter time.Duration) time.Duration {
	if ttl > remote.MaxTTL {
		return 0
	}
	if most := min(jitter, ttl/2); most > 0 {
		ttl -= rand.N(most + 1)
	}
	return max(ttl, time.Millisecond)
}

// decode reads the value of a record that was found.
func (s *shared[V]) decode(key string, r *remote.Record) (*V, error) {
	v, err := s.read(key, r)
	if err != nil {
		s.counts.decodeErrors.Add(1)
		return nil, &DecodeError{Key: key, Codec: s.codec.Name(), Err: err}
	}
	return v, nil
}

func (s *shared[V]) read(key string, r *remote.Record) (*V, error) {
	form := codec.Enveloped
	if r.Number {
		form = codec.Number
	}
	v := new(V)
	if err := s.codec.DecodeBound(s.prefix+key, s.bound(r.Tags), r.Payload, form, v); err != nil {
		return nil, err
	}
	return v, nil
}

// asRead gives what a read of r, the record of v, would give, in memory that the caller of Set or
// the loader does not have: v itself where the two cannot be told apart, else the decoded value.
// What could be written and not read back is found out here, before it is stored.
func (s *shared[V]) asRead(key string, r *remote.Record, v *V) (*V, error) {
	if s.codec.Exact() {
		return v, nil
	}
	read, err := s.read(key, r)
	if err != nil {
		return nil, s.encodeFault(key, fmt.Errorf("it does not decode back: %w", err))
	}
	return read, nil
}

// bound are the tags of a record as an encrypted value is bound to them: names and versions.
func (s *shared[V]) bound(tags []remote.Tag) []byte {
	if len(tags) == 0 || !s.codec.Sealed() {
		return nil
	}
	var b []byte
	for _, t := range tags {
		b = binary.BigEndian.AppendUint16(b, uint16(len(t.Name)))
		b = append(b, t.Name...)
		b = append(b, t.Version[:]...)
	}
	return b
}

func (s *shared[V]) encode(key string, value *V, st *settings, tags []remote.Tag) (*remote.Record, *V, error) {
	rec, err := s.record(key, value, st, tags)
	if err != nil {
		return nil, nil, err
	}
	value, err = s.asRead(key, rec, value)
	return rec, value, err
}
