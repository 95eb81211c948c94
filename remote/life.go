package remote

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Presence tells whether there is an entry.
type Presence uint8

// The answers.
const (
	Absent  Presence = iota // nothing, or a lease, a negative, a value past its TTL, or one below the floor
	Present                 // an entry; what cannot be read is one, whatever its Redis type
	Tagged                  // an entry with tags: whether they are intact is to be asked for
)

// A remote floor is an id of a lane: records with an older stamp were invalidated all at once, and count as absent. 0 is below all.

// presence decides by a header, as the scripts do: what cannot be read is there.
func (s *Store) presence(ctx context.Context, key string, header []byte, floor uint64) (Presence, error) {
	r, p := presenceAtFloor(header, floor)
	if p == Absent || r.Grace == 0 || r.life() == 0 {
		return p, nil
	}
	if err := s.settle(ctx, key, &r, nil); err != nil {
		return Absent, err
	}
	if r.Expired(time.Now()) {
		return Absent, nil
	}
	return p, nil
}

// presenceAtFloor is presence but for the question whether a value is in its grace.
func presenceAtFloor(header []byte, floor uint64) (Record, Presence) {
	if len(header) == 0 {
		return Record{}, Absent
	}
	r, err := parseHeader(header)
	switch {
	case err != nil:
		return Record{}, Present
	case r.Kind != KindValue || r.Stamp < floor:
		return r, Absent
	case header[offFlags]&flagTagged != 0:
		return r, Tagged
	}
	return r, Present
}

// Presence asks for the header of what is under key.
func (s *Store) Presence(ctx context.Context, key string, floor uint64) (Presence, error) {
	header, err := call(ctx, s, s.at(ctx, key), "exists", false, func(ctx context.Context) ([]byte, error) {
		return s.rdb.GetRange(ctx, key, 0, headerSize-1).Bytes()
	})
	if errors.Is(err, ErrWrongType) {
		return Present, nil
	}
	if err != nil {
		return Absent, err
	}
	return s.presence(ctx, key, header, floor)
}

// Exists tells whether there is an entry under key, whatever became of its tags.
func (s *Store) Exists(ctx context.Context, key string, floor uint64) (bool, error) {
	p, err := s.Presence(ctx, key, floor)
	return p != Absent, err
}

// Life is what is left of an entry's.
type Life struct {
	Left    time.Duration
	Forever bool // there is no end
	Tagged  bool // the entry has tags
}

// Life gives the life left of the entry under key, or ErrNotFound.
func (s *Store) Life(ctx context.Context, key string, floor uint64) (Life, error) {
	reply, err := call(ctx, s, s.at(ctx, key), "ttl", false, func(ctx context.Context) ([]any, error) {
		v, err := scriptTTL.run(ctx, s.rdb, []string{key})
		list, _ := v.([]any)
		return list, err
	})
	if err != nil {
		return Life{}, err
	}
	if len(reply) != 2 {
		return Life{}, &Error{Op: "ttl", Err: fmt.Errorf("reply of %d parts", len(reply))}
	}
	text, _ := reply[0].(string)
	ms, _ := reply[1].(int64)
	header := []byte(text)
	r, p := presenceAtFloor(header, floor)
	left := time.Duration(ms)*time.Millisecond - r.Grace
	if p == Absent || r.Grace > 0 && ms >= 0 && left <= 0 {
		return Life{}, ErrNotFound
	}
	if ms < 0 {
		return Life{Forever: true, Tagged: p == Tagged}, nil
	}
	return Life{Left: max(left, time.Millisecond), Tagged: p == Tagged}, nil
}

// TTL gives the life left, whatever became of the entry's tags; forever is true for an entry without end. ErrNotFound
// when there is none.
func (s *Store) TTL(ctx context.Context, key string, floor uint64) (left time.Duration, forever bool, err error) {
	life, err := s.Life(ctx, key, floor)
	return life.Left, life.Forever, err
}

// Extend gives an entry another life, counted from now (0: for ever), and announces a. It tells whether there was an
// entry; if not, nothing is announced.
func (s *Store) Extend(ctx context.Context, key string, life time.Duration, floor uint64, a *Announcement) (Presence, error) {
	r := Record{TTL: life}
	field := binary.BigEndian.AppendUint32(nil, packDuration(r.life()))
	token := NewToken()
	rest, err := s.change(ctx, "expire", scriptExpire, change{
		key: key, a: a, args: []any{floorArg(floor), token[:], field, r.lifetime()},
	})
	if err != nil {
		return Absent, err
	}
	n, err := first[int64]("expire", rest)
	return Presence(n), err
}

// Expire is Extend for who keeps no tags.
func (s *Store) Expire(ctx context.Context, key string, life time.Duration, floor uint64, a *Announcement) (bool, error) {
	p, err := s.Extend(ctx, key, life, floor, a)
	return p != Absent, err
}
