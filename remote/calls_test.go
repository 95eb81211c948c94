package remote

import (
	"context"
	"time"
)

// exists reports whether there is an entry under key.
func exists(ctx context.Context, s *Store, key string, floor uint64) (bool, error) {
	p, err := s.Stat(ctx, key, floor)
	return p != EntryAbsent, err
}

func existsMany(ctx context.Context, s *Store, keys []string, floor uint64) ([]bool, []error) {
	found, errs := s.StatMany(ctx, keys, floor)
	out := make([]bool, len(found))
	for i, p := range found {
		out[i] = p != EntryAbsent
	}
	return out, errs
}

// ttlOf returns the remaining TTL of the entry under key.
func ttlOf(ctx context.Context, s *Store, key string, floor uint64) (left time.Duration, forever bool, err error) {
	l, err := s.TTL(ctx, key, floor)
	return l.TTL, l.Forever, err
}

// setTTL sets the TTL of the entry under key, and reports whether there was one.
func setTTL(ctx context.Context, s *Store, key string, ttl time.Duration, floor uint64, a *Announcement) (bool, error) {
	p, err := s.SetTTL(ctx, key, ttl, floor, a)
	return p != EntryAbsent, err
}

func increment(ctx context.Context, s *Store, key string, delta int64, bounds *Bounds, r *Record, floor uint64, a *Announcement) (int64, error) {
	return s.Increment(ctx, IncrementRequest{Key: key, Delta: delta, Missing: r, Bounds: bounds, Floor: floor, Announcement: a})
}

// clearKeys clears with the same ids for every key.
func clearKeys(ctx context.Context, s *Store, prefix, pattern string, reclaim, floor uint64) (int, error) {
	return s.Clear(ctx, prefix, pattern, func(string) (uint64, uint64) { return reclaim, floor })
}

// countKeys counts with the same floor for every key.
func countKeys(ctx context.Context, s *Store, prefix, pattern string, floor uint64) (int, error) {
	return s.Count(ctx, prefix, pattern, func(string) uint64 { return floor })
}
