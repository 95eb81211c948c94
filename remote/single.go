package remote

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Get reads the record under key with one GET. ErrNotFound when there is none; ErrMalformed or *UnknownVersionError
// when what is there cannot be read. Leases, negatives and values past their TTL are given as they are: what they mean
// is the caller's to say.
func (s *Store) Get(ctx context.Context, key string) (Record, error) {
	data, err := s.read(ctx, key)
	if err != nil {
		return Record{}, err
	}
	return ParseRecord(key, data)
}

func (s *Store) read(ctx context.Context, key string) ([]byte, error) {
	return call(ctx, s, "get", false, func(ctx context.Context) ([]byte, error) {
		return s.rdb.Get(ctx, key).Bytes()
	})
}

// Acquire takes a lease of at most life under key, unless something is there. won tells whether the caller holds the
// lease now; otherwise found is what is there, or err says why it cannot be read.
func (s *Store) Acquire(ctx context.Context, key string, token Token, stamp uint64, life time.Duration) (won bool, found Record, err error) {
	lease := Record{Kind: KindLease, Token: token, Stamp: stamp, Created: time.Now(), TTL: life}
	raw, err := AppendRecord(nil, key, &lease)
	if err != nil {
		return false, Record{}, err
	}
	data, err := call(ctx, s, "acquire", true, func(ctx context.Context) (string, error) {
		return asString(scriptAcquire.run(ctx, s.rdb, key, raw, lease.lifetime()))
	})
	if errors.Is(err, ErrNotFound) {
		return true, Record{}, nil
	}
	if err != nil {
		return false, Record{}, err
	}
	found, err = ParseRecord(key, []byte(data))
	return false, found, err
}

// Fill stores r where the record whose token was seen is still in place, and tells whether it was. Any change since then refuses
// it, and so does the loss of what was there.
func (s *Store) Fill(ctx context.Context, key string, seen []byte, r *Record) (bool, error) {
	if len(seen) == 0 {
		return false, nil // it would match the absence of a record
	}
	raw, err := AppendRecord(make([]byte, 0, recordSize(key, r)), key, r)
	if err != nil {
		return false, err
	}
	n, err := call(ctx, s, "fill", true, func(ctx context.Context) (int64, error) {
		return asInt(scriptFill.run(ctx, s.rdb, key, seen, raw, r.lifetime()))
	})
	return n == 1, err
}

// Release gives a lease back, if it is still held with this token, so that others need not wait for its end. No error
// matches ErrUnknownOutcome: no entry is concerned.
func (s *Store) Release(ctx context.Context, key string, token []byte) error {
	if len(token) == 0 {
		return nil
	}
	_, err := call(ctx, s, "release", false, func(ctx context.Context) (int64, error) {
		return asInt(scriptRelease.run(ctx, s.rdb, key, token))
	})
	return err
}

// Sweep removes what is under key if it is a string of at most one byte, and tells whether it was: what is no record,
// and holds nothing. Nothing is announced.
func (s *Store) Sweep(ctx context.Context, key string) (bool, error) {
	n, err := call(ctx, s, "sweep", true, func(ctx context.Context) (int64, error) {
		return asInt(scriptSweep.run(ctx, s.rdb, key))
	})
	return n == 1, err
}

// Set stores r and announces message.
func (s *Store) Set(ctx context.Context, key string, r *Record, message []byte) error {
	raw, err := AppendRecord(make([]byte, 0, recordSize(key, r)), key, r)
	if err != nil {
		return err
	}
	_, err = call(ctx, s, "set", true, func(ctx context.Context) (int64, error) {
		return asInt(scriptSet.run(ctx, s.rdb, key, raw, r.lifetime(), s.opts.Channel, s.message(message)))
	})
	return err
}

// SetIfAbsent stores r where there is no entry, and announces message. stored tells whether it was; otherwise found is
// the entry that is there, or err says why it cannot be read.
func (s *Store) SetIfAbsent(ctx context.Context, key string, r *Record, message []byte) (stored bool, found Record, err error) {
	raw, err := AppendRecord(make([]byte, 0, recordSize(key, r)), key, r)
	if err != nil {
		return false, Record{}, err
	}
	data, err := call(ctx, s, "set-if-absent", true, func(ctx context.Context) (string, error) {
		return asString(scriptSetNX.run(ctx, s.rdb, key, raw, r.lifetime(), s.opts.Channel, s.message(message), time.Now().UnixMilli()))
	})
	if errors.Is(err, ErrNotFound) {
		return true, Record{}, nil
	}
	if err != nil {
		return false, Record{}, err
	}
	found, err = ParseRecord(key, []byte(data))
	return false, found, err
}

// Delete removes whatever is under key and announces message, in any case. It tells whether there was an entry.
func (s *Store) Delete(ctx context.Context, key string, message []byte) (bool, error) {
	n, err := call(ctx, s, "delete", true, func(ctx context.Context) (int64, error) {
		return asInt(scriptDelete.run(ctx, s.rdb, key, s.opts.Channel, s.message(message), time.Now().UnixMilli()))
	})
	return n > 0, err
}

// Bounds limit what an increment may make of an entry; nil means all of int64.
type Bounds struct{ Min, Max int64 }

// Increment adds delta to the entry under key, exactly, and announces message. Where there is none, r says what it
// becomes (its Payload is ignored, the sum begins at 0); an entry that is there keeps its life. ErrNotNumeric or
// ErrOverflow leave it as it was.
//
// An entry with tags is added to whatever became of its tags; IncrementJudged asks.
func (s *Store) Increment(ctx context.Context, key string, delta int64, bounds *Bounds, r *Record, message []byte) (int64, error) {
	return s.increment(ctx, key, delta, bounds, r, message, "*", 0)
}

// Verdict says what became of the tags of the record with this token: if one was invalidated, the record counts as none.
type Verdict struct {
	Token       Token
	Invalidated bool
}

// IncrementJudged is Increment for who keeps tags: an entry that has some is left as it is, with ErrTagged, unless v is about it.
func (s *Store) IncrementJudged(ctx context.Context, key string, delta int64, bounds *Bounds, r *Record, message []byte, v *Verdict) (int64, error) {
	if v == nil {
		return s.increment(ctx, key, delta, bounds, r, message, "", 0)
	}
	invalidated := 0
	if v.Invalidated {
		invalidated = 1
	}
	return s.increment(ctx, key, delta, bounds, r, message, string(v.Token[:]), invalidated)
}

func (s *Store) increment(ctx context.Context, key string, delta int64, bounds *Bounds, r *Record, message []byte, judged string, invalidated int) (int64, error) {
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
	sum, err := call(ctx, s, "increment", true, func(ctx context.Context) (string, error) {
		return asString(scriptIncrement.run(ctx, s.rdb, key, delta, r.Token[:], raw, begin.lifetime(), time.Now().UnixMilli(),
			low, high, s.opts.Channel, s.message(message), judged, invalidated))
	})
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(sum, 10, 64)
	if err != nil {
		return 0, &Error{Op: "increment", Err: errors.New("the sum in the reply is not an integer")}
	}
	return n, nil
}

// Publish announces message without a change of its own.
func (s *Store) Publish(ctx context.Context, message []byte) error {
	if s.opts.Channel == "" {
		return nil
	}
	_, err := call(ctx, s, "publish", true, func(ctx context.Context) (struct{}, error) {
		c := onceCmd{redis.NewCmd(ctx, "publish", s.opts.Channel, message), ctx}
		return struct{}{}, s.rdb.Process(ctx, c)
	})
	return err
}

// message is what a script is given to publish: nothing where no channel is set.
func (s *Store) message(m []byte) []byte {
	if s.opts.Channel == "" || m == nil {
		return []byte{}
	}
	return m
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
		return 0, fmt.Errorf("remote: reply of type %T where a number is due", v)
	}
	return n, nil
}

func asString(v any, err error) (string, error) {
	if err != nil {
		return "", err
	}
	text, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("remote: reply of type %T where a string is due", v)
	}
	return text, nil
}
