package remote

import (
	"context"
	"errors"
	"fmt"
	"strconv"
)

// Get reads the record under key with one GET. It returns ErrNotFound if there is none, and an
// error that matches ErrMalformed or is an *UnknownVersionError if the record cannot be read. It
// returns leases, negative records and values past their TTL as they are.
func (s *Store) Get(ctx context.Context, key string) (Record, error) {
	data, err := s.read(ctx, key)
	if err != nil {
		return Record{}, err
	}
	rec, err := ParseRecord(key, data)
	err = s.setEnds(ctx, key, &rec, err)
	return rec, err
}

func (s *Store) read(ctx context.Context, key string) ([]byte, error) {
	return call(ctx, s, s.breakerFor(ctx, key), "get", false, func(ctx context.Context) ([]byte, error) {
		return s.rdb.Get(ctx, key).Bytes()
	})
}

// Set stores r and announces a.
func (s *Store) Set(ctx context.Context, key string, r *Record, a *Announcement) error {
	raw, err := AppendRecord(make([]byte, 0, recordSize(key, r)), key, r)
	if err != nil {
		return err
	}
	_, err = s.write(ctx, "set", scriptSet, writePlan{key: key, announcement: a, record: r, args: []any{raw, r.remoteTTL()}})
	return err
}

// SetIfAbsent stores r if there is no entry, and announces a. If there is an entry, nothing is
// announced, and found is that entry, or err says why it cannot be read.
func (s *Store) SetIfAbsent(ctx context.Context, key string, r *Record, floor uint64, a *Announcement) (stored bool, found Record, err error) {
	raw, err := AppendRecord(make([]byte, 0, recordSize(key, r)), key, r)
	if err != nil {
		return false, Record{}, err
	}
	rest, err := s.write(ctx, "set-if-absent", scriptSetIfAbsent, writePlan{
		key: key, announcement: a, record: r, args: []any{stampArg(floor), raw, r.remoteTTL()},
	})
	if err != nil {
		return false, Record{}, err
	}
	if len(rest) == 0 {
		return true, Record{}, nil
	}
	data, err := firstPart[string]("set-if-absent", rest)
	if err != nil {
		return false, Record{}, err
	}
	found, err = ParseRecord(key, []byte(data))
	err = s.setEnds(ctx, key, &found, err)
	return false, found, err
}

// Delete removes the record under key, whatever it is, and announces a in any case. It reports
// whether there was an entry. It works when Redis is out of memory.
func (s *Store) Delete(ctx context.Context, key string, floor uint64, a *Announcement) (bool, error) {
	rest, err := s.write(ctx, "delete", scriptDelete, writePlan{key: key, announcement: a, args: []any{stampArg(floor)}})
	if err != nil {
		return false, err
	}
	n, err := firstPart[int64]("delete", rest)
	return n > 0, err
}

// DeleteIfEmpty removes a string of at most one byte under key, which is no record and holds
// nothing, and reports whether there was one. Nothing is announced.
func (s *Store) DeleteIfEmpty(ctx context.Context, key string) (bool, error) {
	n, err := call(ctx, s, s.breakerFor(ctx, key), "sweep", true, func(ctx context.Context) (int64, error) {
		return parseInt(scriptDeleteIfEmpty.Run(ctx, s.rdb, []string{key}))
	})
	return n == 1, err
}

// Bounds limit the sum of an increment.
type Bounds struct{ Min, Max int64 }

// TagState says whether a tag of the record with this token was invalidated: then the record counts
// as absent.
type TagState struct {
	Token       Token
	Invalidated bool
}

// IncrementRequest says what Increment adds to which entry.
type IncrementRequest struct {
	Key   string
	Delta int64
	// Missing is stored with the sum, which begins at 0, if there is no entry. Its Payload is ignored. Its
	// Token is the entry's in any case.
	Missing      *Record
	Bounds       *Bounds // nil: all of int64
	Floor        uint64  // an entry with a lower stamp counts as absent
	Tags         *TagState
	Announcement *Announcement
}

// Increment adds to an entry, exactly, and announces the change. An entry that is there keeps its TTL
// and its stamp: a caller that does not know the newest floor must not bring back an entry that the
// floor has invalidated. ErrNotNumeric and ErrOverflow leave the entry as it was. So does ErrTagged, for
// an entry with tags if r.Tags is nil or has another token.
func (s *Store) Increment(ctx context.Context, r IncrementRequest) (int64, error) {
	begin := *r.Missing
	begin.Number, begin.Payload = true, []byte("0")
	raw, err := AppendRecord(nil, r.Key, &begin)
	if err != nil {
		return 0, err
	}
	low, high := "", ""
	if r.Bounds != nil {
		low, high = strconv.FormatInt(r.Bounds.Min, 10), strconv.FormatInt(r.Bounds.Max, 10)
	}
	checked, invalidated := "", 0
	if r.Tags != nil {
		checked = string(r.Tags.Token[:])
		if r.Tags.Invalidated {
			invalidated = 1
		}
	}
	rest, err := s.write(ctx, "increment", scriptIncrement, writePlan{
		key: r.Key, announcement: r.Announcement, record: r.Missing,
		args: []any{
			stampArg(r.Floor), r.Delta, begin.Token[:], raw, begin.remoteTTL(), low, high, checked, invalidated,
		},
	})
	if err != nil {
		return 0, err
	}
	sum, err := firstPart[string]("increment", rest)
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

func parseInt(v any, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	n, ok := v.(int64)
	if !ok {
		return 0, fmt.Errorf("reply of type %T where a number is due", v)
	}
	return n, nil
}

func parseString(v any, err error) (string, error) {
	if err != nil {
		return "", err
	}
	text, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("reply of type %T where a string is due", v)
	}
	return text, nil
}

// firstPart returns the first part of a change's reply after the id.
func firstPart[T any](op string, rest []any) (T, error) {
	if len(rest) > 0 {
		if v, ok := rest[0].(T); ok {
			return v, nil
		}
	}
	var none T
	return none, &Error{Op: op, Err: fmt.Errorf("reply without the %T that is due", none), kinds: []error{ErrUnknownOutcome}}
}
