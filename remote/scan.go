package remote

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/cespare/xxhash/v2"
	"github.com/redis/go-redis/v9"
)

// Clear removes what lies under prefix and matches the glob pattern ("" is everything), on all masters, page by page,
// and gives how many entries went: as Exists counts them, by floor. With a reclaim above 0 it leaves records whose stamp
// is not below reclaim, be they leases: those came later. It stops with ctx; what was removed until then stays removed. A
// master that cannot be asked is an error, after the others were cleared. Nothing is announced: the caller announces that
// all entries of the cache may have changed.
func (s *Store) Clear(ctx context.Context, prefix, pattern string, reclaim, floor uint64) (int, error) {
	return s.ClearEach(ctx, prefix, pattern, func(string) (uint64, uint64) { return reclaim, floor })
}

// ClearEach is Clear where each key has a reclaim and a floor of its own: ids of different lanes do not compare, so a key's lane decides.
// of is called from several goroutines at a time.
func (s *Store) ClearEach(ctx context.Context, prefix, pattern string, of func(key string) (reclaim, floor uint64)) (int, error) {
	var mu sync.Mutex
	total := 0
	err := s.scan(ctx, "clear", prefix, pattern, func(keys []string) error {
		existed, errs := s.reclaimMany(ctx, keys, of)
		mu.Lock()
		defer mu.Unlock()
		for _, e := range existed {
			if e {
				total++
			}
		}
		return errors.Join(errs...)
	})
	return total, err
}

func (s *Store) reclaimMany(ctx context.Context, keys []string, of func(key string) (reclaim, floor uint64)) ([]bool, []error) {
	calls, errs := make([]scriptCall, len(keys)), make([]error, len(keys))
	for i, key := range keys {
		reclaim, floor := of(key)
		calls[i] = scriptCall{keys: []string{key}, args: []any{floorArg(floor), floorArg(reclaim)}}
	}
	existed := make([]bool, len(keys))
	s.scriptMany(ctx, "clear", true, scriptReclaim, calls, errs, func(i int, v any) {
		existed[i] = v == int64(1)
	})
	return existed, errs
}

// Count counts the entries under prefix that match the glob pattern ("" is everything), on all masters. An entry that
// comes or goes meanwhile may or may not be counted.
func (s *Store) Count(ctx context.Context, prefix, pattern string, floor uint64) (int, error) {
	return s.CountEach(ctx, prefix, pattern, func(string) uint64 { return floor })
}

// CountEach is Count where each key has a floor of its own. floorOf is called from several goroutines at a time.
func (s *Store) CountEach(ctx context.Context, prefix, pattern string, floorOf func(key string) uint64) (int, error) {
	var mu sync.Mutex
	seen := make(map[uint64]struct{}) // SCAN may give a key twice
	err := s.scan(ctx, "count", prefix, pattern, func(keys []string) error {
		exists, errs := s.presences(ctx, keys, floorOf)
		mu.Lock()
		defer mu.Unlock()
		for i, e := range exists {
			if e != Absent {
				seen[xxhash.Sum64String(keys[i])] = struct{}{}
			}
		}
		return errors.Join(errs...)
	})
	return len(seen), err
}

// ExistsMany asks for each key what Exists asks for one.
func (s *Store) ExistsMany(ctx context.Context, keys []string, floor uint64) ([]bool, []error) {
	found, errs := s.PresenceMany(ctx, keys, floor)
	out := make([]bool, len(keys))
	for i, p := range found {
		out[i] = p != Absent
	}
	return out, errs
}

// PresenceMany asks for each key what Presence asks for one.
func (s *Store) PresenceMany(ctx context.Context, keys []string, floor uint64) ([]Presence, []error) {
	return s.presences(ctx, keys, func(string) uint64 { return floor })
}

func (s *Store) presences(ctx context.Context, keys []string, floorOf func(key string) uint64) ([]Presence, []error) {
	out, errs := make([]Presence, len(keys)), make([]error, len(keys))
	var mu sync.Mutex
	eachNode(s.byNode(ctx, keys, indexes(len(keys))), func(p portion) error {
		some := make([]string, len(p.part))
		for j, i := range p.part {
			some[j] = keys[i]
		}
		cmds, err := call(ctx, s, p.node, "exists-many", false, func(ctx context.Context) ([]*redis.StringCmd, error) {
			return pipelined(ctx, s.rdb, some, func(p redis.Pipeliner, key string) *redis.StringCmd {
				return p.GetRange(ctx, key, 0, headerSize-1)
			})
		})
		mu.Lock()
		defer mu.Unlock()
		for j, i := range p.part {
			if err != nil {
				errs[i] = err
				continue
			}
			header, cmdErr := cmds[j].Bytes()
			switch cmdErr = classify("exists-many", false, cmdErr); {
			case cmdErr == nil:
				out[i], errs[i] = s.presence(ctx, keys[i], header, floorOf(keys[i]))
			case errors.Is(cmdErr, ErrWrongType):
				out[i] = Present
			default:
				errs[i] = cmdErr
			}
		}
		return err
	}, func(p portion, err error) {
		mu.Lock()
		defer mu.Unlock()
		for _, i := range p.part {
			errs[i] = err
		}
	})
	return out, errs
}

// scan hands out the keys of every master in pages. page may be called from several goroutines at a time, one for each master.
func (s *Store) scan(ctx context.Context, op, prefix, pattern string, page func(keys []string) error) error {
	if pattern == "" {
		pattern = "*"
	}
	match := EscapeGlob(prefix) + pattern
	walk := func(node *breaker, master redis.Cmdable) error {
		var cursor uint64
		for {
			type reply struct {
				keys []string
				next uint64
			}
			r, err := call(ctx, s, node, op, false, func(ctx context.Context) (reply, error) {
				keys, next, err := master.Scan(ctx, cursor, match, int64(s.opts.ScanPage)).Result()
				return reply{keys, next}, err
			})
			if err != nil {
				return err
			}
			if len(r.keys) > 0 {
				if err := page(r.keys); err != nil {
					return err
				}
			}
			if cursor = r.next; cursor == 0 {
				return nil
			}
		}
	}
	if s.masters == nil {
		return walk(s.only, s.rdb)
	}
	masters, err := s.listMasters(ctx, op)
	if err != nil {
		return err
	}
	errs := make([]error, len(masters))
	var wg sync.WaitGroup
	for i, master := range masters {
		wg.Go(func() { errs[i] = walk(s.nodes.named(master.Options().Addr), master) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// listMasters asks the Cluster who its masters are. It is a call like any other: the client may have to dial for the answer.
func (s *Store) listMasters(ctx context.Context, op string) ([]*redis.Client, error) {
	return call(ctx, s, s.nodes.lost, op, false, func(ctx context.Context) ([]*redis.Client, error) {
		var mu sync.Mutex
		var masters []*redis.Client
		err := s.masters.ForEachMaster(ctx, func(_ context.Context, master *redis.Client) error {
			mu.Lock()
			defer mu.Unlock()
			masters = append(masters, master)
			return nil
		})
		return masters, err
	})
}

// EscapeGlob gives a pattern that matches exactly s.
func EscapeGlob(s string) string {
	return globEscaper.Replace(s)
}

var globEscaper = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`)
