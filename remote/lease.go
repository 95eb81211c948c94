package remote

import (
	"context"
	"errors"
	"time"

	"github.com/doppio-cache/doppio/internal/luascript"
)

// LeaseRequest asks for the lease of a key.
type LeaseRequest struct {
	Key   string
	Token Token  // of the lease
	Stamp uint64 // the newest id of the key's lane that the caller knows
	Tags  []Tag  // of the value that is being loaded
	// Replaces is the token of a record that counts as absent, so that the lease takes its place; nil for
	// none.
	Replaces []byte
}

// record returns the record of the lease.
func (r *LeaseRequest) record(ttl time.Duration) Record {
	return Record{Kind: KindLease, Token: r.Token, Stamp: r.Stamp, Created: time.Now(), TTL: ttl, Tags: r.Tags}
}

// LeaseResult is the result of a LeaseRequest.
type LeaseResult struct {
	Acquired bool
	Found    Record // the record that is there, if the lease was not acquired
	Err      error  // why there is neither a lease nor a record that can be read
}

// Acquire acquires a lease that lasts at most ttl, unless a record is there. acquired reports whether
// the caller holds the lease; otherwise found is the record that is there, or err says why it cannot be
// read.
//
// A lease that is found is marked as awaited, for the Fill or Release that ends it to report. It has the
// tags of the value that is being loaded, so a caller can see that one of them was invalidated, and need
// not wait. A lease that is granted after Acquire has returned an error is released in the background.
func (s *Store) Acquire(ctx context.Context, r LeaseRequest, ttl time.Duration) (acquired bool, found Record, err error) {
	lease := r.record(ttl)
	raw, err := AppendRecord(nil, r.Key, &lease)
	if err != nil {
		return false, Record{}, err
	}
	data, err := call(ctx, s, s.breakerFor(ctx, r.Key), "acquire", true, func(ctx context.Context) (string, error) {
		found, err := parseString(scriptAcquire.Run(ctx, s.rdb, []string{r.Key}, raw, lease.remoteTTL(), r.Replaces))
		if err != nil {
			outcome := classify("acquire", wasSent(ctx, err), err)
			s.releaseIfAbandoned(ctx, ttl, []Lease{{Key: r.Key, Token: lease.Token[:]}}, []error{outcome})
		}
		return found, err
	})
	if errors.Is(err, ErrNotFound) {
		return true, Record{}, nil
	}
	if err != nil {
		return false, Record{}, err
	}
	found, err = ParseRecord(r.Key, []byte(data))
	err = s.setEnds(ctx, r.Key, &found, err)
	return false, found, err
}

// AcquireMany acquires the lease of each key, as Acquire does for one. Leases that are granted after it
// has returned an error for them are released in the background.
func (s *Store) AcquireMany(ctx context.Context, requests []LeaseRequest, ttl time.Duration) []LeaseResult {
	b := newScriptBatch("acquire-many", true, scriptAcquire, len(requests))
	tokens := make([]Token, len(requests)) // copies: a caller that has left may change its requests
	for i := range requests {
		r := &requests[i]
		tokens[i] = r.Token
		lease := r.record(ttl)
		raw, err := AppendRecord(nil, r.Key, &lease)
		b.errs[i] = err
		b.calls[i] = luascript.Call{Keys: []string{r.Key}, Args: []any{raw, lease.remoteTTL(), r.Replaces}}
	}
	b.onReplies = func(ctx context.Context, p batchPart, replies []reply) {
		leases, outcomes := make([]Lease, len(replies)), make([]error, len(replies))
		for j, i := range p.indexes {
			leases[j], outcomes[j] = Lease{Key: b.calls[i].Keys[0], Token: tokens[i][:]}, replies[j].err
		}
		s.releaseIfAbandoned(ctx, ttl, leases, outcomes)
	}
	results := make([]LeaseResult, len(requests))
	b.done = func(i int, v any) {
		text, _ := v.(string)
		r, key := &results[i], b.calls[i].Keys[0]
		r.Found, r.Err = ParseRecord(key, []byte(text))
		r.Err = s.setEnds(ctx, key, &r.Found, r.Err)
	}
	s.runScripts(ctx, b)
	for i, err := range b.errs {
		switch {
		case errors.Is(err, ErrNotFound): // the script replies with a nil if it has acquired the lease
			results[i].Acquired = true
		case err != nil:
			results[i].Err = err
		}
	}
	return results
}

// FillResult is the result of a Fill.
type FillResult struct {
	Stored  bool
	Awaited bool // it replaced a lease that another Acquire has met
}

// parseFillReply parses the reply of the scripts that end a lease.
func parseFillReply(n int64) FillResult { return FillResult{Stored: n > 0, Awaited: n > 1} }

// FillRequest is one record of FillMany. Seen is as for Fill.
type FillRequest struct {
	Key    string
	Seen   []byte
	Record *Record
}

// Fill stores r if the record with the token seen is still in place, and reports whether it was.
// Any change since then makes Fill refuse, and so does the loss of the record that was seen.
func (s *Store) Fill(ctx context.Context, key string, seen []byte, r *Record) (FillResult, error) {
	if len(seen) == 0 {
		return FillResult{}, nil // it would match the absence of a record
	}
	raw, err := AppendRecord(make([]byte, 0, recordSize(key, r)), key, r)
	if err != nil {
		return FillResult{}, err
	}
	n, err := call(ctx, s, s.breakerFor(ctx, key), "fill", true, func(ctx context.Context) (int64, error) {
		return parseInt(scriptFill.Run(ctx, s.rdb, []string{key}, seen, raw, r.remoteTTL()))
	})
	return parseFillReply(n), err
}

// FillMany stores each record as Fill does.
func (s *Store) FillMany(ctx context.Context, fillings []FillRequest) ([]FillResult, []error) {
	b := newScriptBatch("fill-many", true, scriptFill, len(fillings))
	stored := make([]FillResult, len(fillings))
	for i, f := range fillings {
		if len(f.Seen) == 0 {
			b.errs[i] = errNoToken
			continue
		}
		raw, err := AppendRecord(make([]byte, 0, recordSize(f.Key, f.Record)), f.Key, f.Record)
		b.errs[i] = err
		b.calls[i] = luascript.Call{Keys: []string{f.Key}, Args: []any{f.Seen, raw, f.Record.remoteTTL()}}
	}
	b.done = func(i int, v any) {
		n, _ := v.(int64)
		stored[i] = parseFillReply(n)
	}
	s.runScripts(ctx, b)
	for i, err := range b.errs {
		if errors.Is(err, errNoToken) {
			b.errs[i] = nil
		}
	}
	return stored, b.errs
}

// errNoToken marks a fill without a token. It is left out, since it would match the absence of a
// record.
var errNoToken = errors.New("no token")

// Release releases a lease if it still has this token, so that others need not wait for its end.
// awaited reports whether an Acquire has met it. No error matches ErrUnknownOutcome: no entry is
// concerned.
func (s *Store) Release(ctx context.Context, key string, token []byte) (awaited bool, err error) {
	if len(token) == 0 {
		return false, nil
	}
	n, err := call(ctx, s, s.breakerFor(ctx, key), "release", false, func(ctx context.Context) (int64, error) {
		return parseInt(scriptRelease.Run(ctx, s.rdb, []string{key}, token))
	})
	return parseFillReply(n).Awaited, err
}

// Lease is one lease of RenewMany and ReleaseMany.
type Lease struct {
	Key   string
	Token []byte
}

// RenewMany makes each lease last life from now, pipelined, and reports which of them were still
// held. No error matches ErrUnknownOutcome: no entry is concerned.
func (s *Store) RenewMany(ctx context.Context, leases []Lease, life time.Duration) ([]bool, []error) {
	px := any((&Record{TTL: life}).remoteTTL())
	held := make([]bool, len(leases))
	errs := s.leaseMany(ctx, "renew-many", scriptRenew, len(leases), func(i int) (string, []any) {
		return leases[i].Key, []any{leases[i].Token, px}
	}, func(i int, n int64) { held[i] = n == 1 })
	return held, errs
}

// ReleaseMany releases each lease as Release does for one, pipelined, and reports which of them
// were awaited.
func (s *Store) ReleaseMany(ctx context.Context, leases []Lease) (awaited []bool, errs []error) {
	awaited = make([]bool, len(leases))
	errs = s.leaseMany(ctx, "release-many", scriptRelease, len(leases), func(i int) (string, []any) {
		return leases[i].Key, []any{leases[i].Token}
	}, func(i int, n int64) { awaited[i] = parseFillReply(n).Awaited })
	return awaited, errs
}

// leaseMany runs a script about leases n times, in parts. No error matches ErrUnknownOutcome: no
// entry is concerned.
func (s *Store) leaseMany(ctx context.Context, op string, sc luascript.Script, n int, of func(i int) (key string, args []any), done func(i int, n int64)) []error {
	b := newScriptBatch(op, false, sc, n)
	for i := range n {
		key, args := of(i)
		b.calls[i] = luascript.Call{Keys: []string{key}, Args: args}
	}
	b.done = func(i int, v any) {
		reply, _ := v.(int64)
		done(i, reply)
	}
	s.runScripts(ctx, b)
	return b.errs
}
