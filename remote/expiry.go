package remote

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// EntryState says whether there is an entry.
type EntryState uint8

// The states of an entry.
const (
	EntryAbsent  EntryState = iota // no record, a lease, a negative record, a value past its TTL, or one below the floor
	EntryPresent                   // an entry; a value that cannot be read is one, of any Redis type
	EntryTagged                    // an entry with tags, whose versions the caller has to check
)

// A remote floor is an id of a lane. Records with a lower stamp were invalidated together, and
// count as absent. 0 is below all stamps.

// stateOf decides by a header, as the scripts do. A header that cannot be read is that of an entry.
func (s *Store) stateOf(ctx context.Context, key string, header []byte, floor uint64) (EntryState, error) {
	r, p := stateAtFloor(header, floor)
	if p == EntryAbsent || r.Grace == 0 || r.finiteTTL() == 0 {
		return p, nil
	}
	if err := s.setEnds(ctx, key, &r, nil); err != nil {
		return EntryAbsent, err
	}
	if r.Expired(time.Now()) {
		return EntryAbsent, nil
	}
	return p, nil
}

// stateAtFloor is stateOf without the question whether a value is in its grace.
func stateAtFloor(header []byte, floor uint64) (Record, EntryState) {
	if len(header) == 0 {
		return Record{}, EntryAbsent
	}
	r, err := parseHeader(header)
	switch {
	case err != nil:
		return Record{}, EntryPresent
	case r.Kind != KindValue || r.Stamp < floor:
		return r, EntryAbsent
	case header[offFlags]&flagTagged != 0:
		return r, EntryTagged
	}
	return r, EntryPresent
}

// Stat reports whether there is an entry under key. It reads only the header of the record.
func (s *Store) Stat(ctx context.Context, key string, floor uint64) (EntryState, error) {
	header, err := call(ctx, s, s.breakerFor(ctx, key), "exists", false, func(ctx context.Context) ([]byte, error) {
		return s.rdb.GetRange(ctx, key, 0, headerSize-1).Bytes()
	})
	if errors.Is(err, ErrWrongType) {
		return EntryPresent, nil
	}
	if err != nil {
		return EntryAbsent, err
	}
	return s.stateOf(ctx, key, header, floor)
}

// StatMany reports for each key what Stat reports for one.
func (s *Store) StatMany(ctx context.Context, keys []string, floor uint64) ([]EntryState, []error) {
	return s.statEach(ctx, keys, func(string) uint64 { return floor })
}

func (s *Store) statEach(ctx context.Context, keys []string, floorOf func(key string) uint64) ([]EntryState, []error) {
	out, errs := make([]EntryState, len(keys)), make([]error, len(keys))
	var mu sync.Mutex
	eachNode(s.splitByNode(ctx, keys, indexesTo(len(keys))), func(p batchPart) error {
		some := make([]string, len(p.indexes))
		for j, i := range p.indexes {
			some[j] = keys[i]
		}
		cmds, err := call(ctx, s, p.node, "exists-many", false, func(ctx context.Context) ([]*redis.StringCmd, error) {
			return pipelined(ctx, s.rdb, some, func(p redis.Pipeliner, key string) *redis.StringCmd {
				return p.GetRange(ctx, key, 0, headerSize-1)
			})
		})
		mu.Lock()
		defer mu.Unlock()
		for j, i := range p.indexes {
			if err != nil {
				errs[i] = err
				continue
			}
			header, cmdErr := cmds[j].Bytes()
			switch cmdErr = classify("exists-many", false, cmdErr); {
			case cmdErr == nil:
				out[i], errs[i] = s.stateOf(ctx, keys[i], header, floorOf(keys[i]))
			case errors.Is(cmdErr, ErrWrongType):
				out[i] = EntryPresent
			default:
				errs[i] = cmdErr
			}
		}
		return err
	}, func(p batchPart, err error) {
		mu.Lock()
		defer mu.Unlock()
		for _, i := range p.indexes {
			errs[i] = err
		}
	})
	return out, errs
}

// Expiry is the remaining TTL of an entry.
type Expiry struct {
	TTL     time.Duration
	Forever bool // there is no end
	Tagged  bool // the entry has tags
}

// TTL returns the remaining TTL of the entry under key, or ErrNotFound.
func (s *Store) TTL(ctx context.Context, key string, floor uint64) (Expiry, error) {
	reply, err := call(ctx, s, s.breakerFor(ctx, key), "ttl", false, func(ctx context.Context) ([]any, error) {
		v, err := scriptTTL.Run(ctx, s.rdb, []string{key})
		list, _ := v.([]any)
		return list, err
	})
	if err != nil {
		return Expiry{}, err
	}
	if len(reply) != 2 {
		return Expiry{}, &Error{Op: "ttl", Err: fmt.Errorf("reply of %d parts", len(reply))}
	}
	text, _ := reply[0].(string)
	ms, _ := reply[1].(int64)
	header := []byte(text)
	r, p := stateAtFloor(header, floor)
	left := time.Duration(ms)*time.Millisecond - r.Grace
	if p == EntryAbsent || r.Grace > 0 && ms >= 0 && left <= 0 {
		return Expiry{}, ErrNotFound
	}
	if ms < 0 {
		return Expiry{Forever: true, Tagged: p == EntryTagged}, nil
	}
	return Expiry{TTL: max(left, time.Millisecond), Tagged: p == EntryTagged}, nil
}

// SetTTL sets the TTL of an entry, counted from now (0: without end), and announces a. It reports
// whether there was an entry; if not, nothing is announced.
func (s *Store) SetTTL(ctx context.Context, key string, life time.Duration, floor uint64, a *Announcement) (EntryState, error) {
	r := Record{TTL: life}
	field := binary.BigEndian.AppendUint32(nil, packDuration(r.finiteTTL()))
	token := NewToken()
	rest, err := s.write(ctx, "expire", scriptSetTTL, writePlan{
		key: key, announcement: a, args: []any{stampArg(floor), token[:], field, r.remoteTTL()},
	})
	if err != nil {
		return EntryAbsent, err
	}
	n, err := firstPart[int64]("expire", rest)
	return EntryState(n), err
}
