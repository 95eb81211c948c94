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
	n, err := call(ctx, s, s.at(ctx, key), "renew", false, func(ctx context.Context) (int64, error) {
		return asInt(scriptRenew.run(ctx, s.rdb, []string{key}, token, (&Record{TTL: life}).lifetime()))
	})
	return n == 1, err
}

// Renewal is one lease of RenewMany.
type Renewal struct {
	Key   string
	Token []byte
}

// RenewMany makes each lease last life from now, as Renew does for one, pipelined, and tells which were still held.
func (s *Store) RenewMany(ctx context.Context, leases []Renewal, life time.Duration) ([]bool, []error) {
	px := any((&Record{TTL: life}).lifetime())
	held := make([]bool, len(leases))
	errs := s.leaseMany(ctx, "renew-many", scriptRenew, len(leases), func(i int) (string, []any) {
		return leases[i].Key, []any{leases[i].Token, px}
	}, func(i int, n int64) { held[i] = n == 1 })
	return held, errs
}

// ReleaseMany gives each lease back, as Release does for one, pipelined, and tells which of them others wait for.
func (s *Store) ReleaseMany(ctx context.Context, leases []Renewal) (awaited []bool, errs []error) {
	awaited = make([]bool, len(leases))
	errs = s.leaseMany(ctx, "release-many", scriptRelease, len(leases), func(i int) (string, []any) {
		return leases[i].Key, []any{leases[i].Token}
	}, func(i int, n int64) { awaited[i] = filled(n).Awaited })
	return awaited, errs
}

// leaseMany runs a script about leases for each of n, in chunks. No error matches ErrUnknownOutcome: no entry is
// concerned.
func (s *Store) leaseMany(ctx context.Context, op string, sc script, n int, of func(i int) (key string, args []any), done func(i int, n int64)) []error {
	calls, errs := make([]scriptCall, n), make([]error, n)
	for i := range n {
		key, args := of(i)
		calls[i] = scriptCall{keys: []string{key}, args: args}
	}
	s.scriptMany(ctx, op, false, sc, calls, errs, func(i int, v any) {
		reply, _ := v.(int64)
		done(i, reply)
	})
	return errs
}
