package remote

import (
	"context"
	"time"
)

var scriptRenew = loadScript("renew")

// Renew makes a lease with this token last life from now, and tells whether it was still held. No error matches
// ErrUnknownOutcome: no entry is concerned.
func (s *Store) Renew(ctx context.Context, key string, token []byte, life time.Duration) (bool, error) {
	if len(token) == 0 {
		return false, nil
	}
	n, err := call(ctx, s, "renew", false, func(ctx context.Context) (int64, error) {
		return asInt(scriptRenew.run(ctx, s.rdb, []string{key}, token, (&Record{TTL: life}).lifetime()))
	})
	return n == 1, err
}
