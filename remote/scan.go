package remote

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/cespare/xxhash/v2"
	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/luascript"
)

// Clear removes the keys under prefix that match the glob pattern ("" is everything), on all
// masters, page by page, and returns how many entries it removed. of returns two ids of the key's
// lane. Records whose stamp is at least reclaim stay, also leases: those are newer; 0 removes
// everything. Records below floor are not counted. of is called by several goroutines.
//
// Clear stops when ctx ends; the entries that it removed until then stay removed. If a master
// cannot be asked, Clear returns an error after it has cleared the others. Nothing is
// announced: the caller announces that all entries of the cache may have changed.
func (s *Store) Clear(ctx context.Context, prefix, pattern string, of func(key string) (reclaim, floor uint64)) (int, error) {
	var mu sync.Mutex
	total := 0
	err := s.scan(ctx, "clear", prefix, pattern, func(keys []string) error {
		existed, errs := s.deleteOlder(ctx, keys, of)
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

func (s *Store) deleteOlder(ctx context.Context, keys []string, of func(key string) (reclaim, floor uint64)) ([]bool, []error) {
	b := newScriptBatch("clear", true, scriptDeleteOlder, len(keys))
	for i, key := range keys {
		reclaim, floor := of(key)
		b.calls[i] = luascript.Call{Keys: []string{key}, Args: []any{stampArg(floor), stampArg(reclaim)}}
	}
	existed := make([]bool, len(keys))
	b.done = func(i int, v any) { existed[i] = v == int64(1) }
	s.runScripts(ctx, b)
	return existed, b.errs
}

// Count counts the entries under prefix that match the glob pattern ("" is everything), on all
// masters. floorOf returns the floor of a key; it is called by several goroutines. An entry that is
// stored or removed meanwhile may or may not be counted.
func (s *Store) Count(ctx context.Context, prefix, pattern string, floorOf func(key string) uint64) (int, error) {
	var mu sync.Mutex
	seen := make(map[uint64]struct{}) // SCAN may return a key twice
	err := s.scan(ctx, "count", prefix, pattern, func(keys []string) error {
		exists, errs := s.statEach(ctx, keys, floorOf)
		mu.Lock()
		defer mu.Unlock()
		for i, e := range exists {
			if e != EntryAbsent {
				seen[xxhash.Sum64String(keys[i])] = struct{}{}
			}
		}
		return errors.Join(errs...)
	})
	return len(seen), err
}

// scan passes the keys of every master to page, in pages. page may be called by several goroutines,
// one for each master.
func (s *Store) scan(ctx context.Context, op, prefix, pattern string, page func(keys []string) error) error {
	if pattern == "" {
		pattern = "*"
	}
	match := EscapeGlob(prefix) + pattern
	return s.eachMaster(ctx, op, func(node *breaker, master redis.Cmdable) error {
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
	})
}

// EscapeGlob returns a pattern that matches exactly s.
func EscapeGlob(s string) string {
	return globEscaper.Replace(s)
}

var globEscaper = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`)
