package remote

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Get reads the record under key with one GET. ErrNotFound when there is none; ErrMalformed or *UnknownVersionError
// when what is there cannot be read. Leases, negatives and values past their TTL are given as they are: what they mean
// is the caller's to say.
func (s *Store) Get(ctx context.Context, key string) (Record, error) {
	data, err := s.read(ctx, key)
	if err != nil {
		return Record{}, err
	}
	rec, err := ParseRecord(key, data)
	err = s.settle(ctx, key, &rec, err)
	return rec, err
}

func (s *Store) read(ctx context.Context, key string) ([]byte, error) {
	return call(ctx, s, s.at(ctx, key), "get", false, func(ctx context.Context) ([]byte, error) {
		return s.rdb.Get(ctx, key).Bytes()
	})
}

// Acquire takes a lease of at most life under key, unless something is there. won tells whether the
// caller holds the lease now; otherwise found is what is there, or err says why it cannot be read.
// A lease that is found is marked as awaited, for the Fill or Release that ends it to tell. It
// shows the tags of what is being loaded, as those of an entry: if one of them was invalidated
// since, it is not worth waiting for. A record with the token replaces (nil: none) is no entry any
// more, and makes room for the lease. A lease that is granted after Acquire has returned an error
// is given back in the background.
func (s *Store) Acquire(ctx context.Context, key string, token Token, stamp uint64, life time.Duration, replaces []byte, tags ...Tag) (won bool, found Record, err error) {
	lease := Record{Kind: KindLease, Token: token, Stamp: stamp, Created: time.Now(), TTL: life, Tags: tags}
	raw, err := AppendRecord(nil, key, &lease)
	if err != nil {
		return false, Record{}, err
	}
	data, err := call(ctx, s, s.at(ctx, key), "acquire", true, func(ctx context.Context) (string, error) {
		found, err := asString(scriptAcquire.run(ctx, s.rdb, []string{key}, raw, lease.lifetime(), replaces))
		if err != nil {
			outcome := classify("acquire", wasSent(ctx, err), err)
			s.owes(ctx, life, []Renewal{{Key: key, Token: lease.Token[:]}}, []error{outcome})
		}
		return found, err
	})
	if errors.Is(err, ErrNotFound) {
		return true, Record{}, nil
	}
	if err != nil {
		return false, Record{}, err
	}
	found, err = ParseRecord(key, []byte(data))
	err = s.settle(ctx, key, &found, err)
	return false, found, err
}

// Filled is what became of a Fill.
type Filled struct {
	Stored  bool
	Awaited bool // what it replaced was a lease that another Acquire has met
}

// filled reads the reply of the scripts that end a lease.
func filled(n int64) Filled { return Filled{Stored: n > 0, Awaited: n > 1} }

// Fill stores r where the record whose token was seen is still in place, and tells whether it was. Any change since then refuses
// it, and so does the loss of what was there.
func (s *Store) Fill(ctx context.Context, key string, seen []byte, r *Record) (Filled, error) {
	if len(seen) == 0 {
		return Filled{}, nil // it would match the absence of a record
	}
	raw, err := AppendRecord(make([]byte, 0, recordSize(key, r)), key, r)
	if err != nil {
		return Filled{}, err
	}
	n, err := call(ctx, s, s.at(ctx, key), "fill", true, func(ctx context.Context) (int64, error) {
		return asInt(scriptFill.run(ctx, s.rdb, []string{key}, seen, raw, r.lifetime()))
	})
	return filled(n), err
}

// Release gives a lease back, if it is still held with this token, so that others need not wait for its end; awaited
// tells whether somebody does. No error matches ErrUnknownOutcome: no entry is concerned.
func (s *Store) Release(ctx context.Context, key string, token []byte) (awaited bool, err error) {
	if len(token) == 0 {
		return false, nil
	}
	n, err := call(ctx, s, s.at(ctx, key), "release", false, func(ctx context.Context) (int64, error) {
		return asInt(scriptRelease.run(ctx, s.rdb, []string{key}, token))
	})
	return filled(n).Awaited, err
}

// Sweep removes what is under key if it is a string of at most one byte, and tells whether it was: what is no record,
// and holds nothing. Nothing is announced.
func (s *Store) Sweep(ctx context.Context, key string) (bool, error) {
	n, err := call(ctx, s, s.at(ctx, key), "sweep", true, func(ctx context.Context) (int64, error) {
		return asInt(scriptSweep.run(ctx, s.rdb, []string{key}))
	})
	return n == 1, err
}

// Set stores r and announces a.
func (s *Store) Set(ctx context.Context, key string, r *Record, a *Announcement) error {
	raw, err := AppendRecord(make([]byte, 0, recordSize(key, r)), key, r)
	if err != nil {
		return err
	}
	_, err = s.change(ctx, "set", scriptSet, change{key: key, a: a, stored: r, args: []any{raw, r.lifetime()}})
	return err
}

// SetIfAbsent stores r where there is no entry, and announces a. stored tells whether it was; otherwise nothing is
// announced, and found is the entry that is there, or err says why it cannot be read.
func (s *Store) SetIfAbsent(ctx context.Context, key string, r *Record, floor uint64, a *Announcement) (stored bool, found Record, err error) {
	raw, err := AppendRecord(make([]byte, 0, recordSize(key, r)), key, r)
	if err != nil {
		return false, Record{}, err
	}
	rest, err := s.change(ctx, "set-if-absent", scriptSetNX, change{
		key: key, a: a, stored: r, args: []any{floorArg(floor), raw, r.lifetime()},
	})
	if err != nil {
		return false, Record{}, err
	}
	if len(rest) == 0 {
		return true, Record{}, nil
	}
	data, err := first[string]("set-if-absent", rest)
	if err != nil {
		return false, Record{}, err
	}
	found, err = ParseRecord(key, []byte(data))
	err = s.settle(ctx, key, &found, err)
	return false, found, err
}

// Delete removes whatever is under key and announces a, in any case. It tells whether there was an entry. It
// works when Redis is out of memory.
func (s *Store) Delete(ctx context.Context, key string, floor uint64, a *Announcement) (bool, error) {
	rest, err := s.change(ctx, "delete", scriptDelete, change{key: key, a: a, args: []any{floorArg(floor)}})
	if err != nil {
		return false, err
	}
	n, err := first[int64]("delete", rest)
	return n > 0, err
}

// Bounds limit what an increment may make of an entry; nil means all of int64.
type Bounds struct{ Min, Max int64 }

// Increment adds delta to the entry under key, exactly, and announces a. Where there is none, r says what it
// becomes (its Payload is ignored, the sum begins at 0); an entry that is there keeps its life and its stamp: who does
// not know the newest floor yet must not bring back what it has invalidated. ErrNotNumeric or ErrOverflow leave it as it was.
//
// An entry with tags is added to whatever became of its tags; IncrementJudged asks.
func (s *Store) Increment(ctx context.Context, key string, delta int64, bounds *Bounds, r *Record, floor uint64, a *Announcement) (int64, error) {
	return s.increment(ctx, key, delta, bounds, r, floor, a, "*", 0)
}

// Verdict says what became of the tags of the record with this token: if one was invalidated, the record counts as none.
type Verdict struct {
	Token       Token
	Invalidated bool
}

// IncrementJudged is Increment for who keeps tags: an entry that has some is left as it is, with ErrTagged, unless v is about it.
func (s *Store) IncrementJudged(ctx context.Context, key string, delta int64, bounds *Bounds, r *Record, floor uint64, a *Announcement, v *Verdict) (int64, error) {
	if v == nil {
		return s.increment(ctx, key, delta, bounds, r, floor, a, "", 0)
	}
	invalidated := 0
	if v.Invalidated {
		invalidated = 1
	}
	return s.increment(ctx, key, delta, bounds, r, floor, a, string(v.Token[:]), invalidated)
}

func (s *Store) increment(ctx context.Context, key string, delta int64, bounds *Bounds, r *Record, floor uint64, a *Announcement, judged string, invalidated int) (int64, error) {
	begin := *r
	begin.Number, begin.Payload = true, []byte("0")
	raw, err := AppendRecord(nil, key, &begin)
	if err != nil {
		return 0, err
	}
	low, high := "", ""
	if bounds != nil {
		low, high = strconv.FormatInt(bounds.Min, 10), strconv.FormatInt(bounds.Max, 10)
	}
	rest, err := s.change(ctx, "increment", scriptIncrement, change{key: key, a: a, stored: r, args: []any{
		floorArg(floor), delta, r.Token[:], raw, begin.lifetime(), low, high, judged, invalidated,
	}})
	if err != nil {
		return 0, err
	}
	sum, err := first[string]("increment", rest)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(sum, 10, 64)
	if err != nil {
		return 0, &Error{Op: "increment", Err: errors.New("the sum in the reply is not an integer")}
	}
	return n, nil
}

func recordSize(key string, r *Record) int {
	n := headerSize + 4 + len(key) + len(r.Payload)
	for _, t := range r.Tags {
		n += 2 + len(t.Name) + len(t.Version)
	}
	return n
}

func asInt(v any, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	n, ok := v.(int64)
	if !ok {
		return 0, fmt.Errorf("reply of type %T where a number is due", v)
	}
	return n, nil
}

func asString(v any, err error) (string, error) {
	if err != nil {
		return "", err
	}
	text, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("reply of type %T where a string is due", v)
	}
	return text, nil
}

// first is the first of what a change's script has told beside the change.
func first[T any](op string, rest []any) (T, error) {
	if len(rest) > 0 {
		if v, ok := rest[0].(T); ok {
			return v, nil
		}
	}
	var none T
	return none, &Error{Op: op, Err: fmt.Errorf("reply without the %T that is due", none), kinds: []error{ErrUnknownOutcome}}
}
