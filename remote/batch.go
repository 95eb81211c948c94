package remote

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/redis/go-redis/v9"
)

// A batch gives each key its own result, at the key's index: some may fail while others succeed.

// Result is what GetMany found under one key. Err is as for Get.
type Result struct {
	Record Record
	Err    error
}

// GetMany reads the records of keys: with MGET where one server holds them all, with pipelined GETs on a Cluster. What
// MGET cannot read because it is of another Redis type is reported by it as absent. A server that does not answer is not
// asked for the rest, which has its error.
func (s *Store) GetMany(ctx context.Context, keys []string) []Result {
	if s.masters == nil {
		return s.readEach(ctx, keys, s.mget)
	}
	return s.GetEach(ctx, keys)
}

// GetEach reads the records of keys as Get does each, what is of another Redis type included, in one pipeline for each
// server.
func (s *Store) GetEach(ctx context.Context, keys []string) []Result {
	return s.readEach(ctx, keys, s.pipelinedGets)
}

// readEach reads the records of keys by read, which is one round trip to one server, and gives an error for all if the
// server could not be asked.
func (s *Store) readEach(ctx context.Context, keys []string, read func(ctx context.Context, node *breaker, keys []string, out []Result) error) []Result {
	out := make([]Result, len(keys))
	if s.nodes == nil && len(keys) <= s.opts.BatchSize {
		noteAll(out, read(ctx, s.only, keys, out))
		return out
	}
	eachNode(s.byNode(ctx, keys, indexes(len(keys))), func(p portion) error {
		some, found := make([]string, len(p.part)), make([]Result, len(p.part))
		for j, i := range p.part {
			some[j] = keys[i]
		}
		err := read(ctx, p.node, some, found)
		noteAll(found, err)
		for j, i := range p.part {
			out[i] = found[j]
		}
		return err
	}, func(p portion, err error) {
		for _, i := range p.part {
			out[i].Err = err
		}
	})
	return out
}

func noteAll(out []Result, err error) {
	if err == nil {
		return
	}
	for i := range out {
		out[i].Err = err
	}
}

func (s *Store) chunks(n int, fn func(from, to int)) {
	for from := 0; from < n; from += s.opts.BatchSize {
		fn(from, min(n, from+s.opts.BatchSize))
	}
}

func (s *Store) mget(ctx context.Context, node *breaker, keys []string, out []Result) error {
	values, err := call(ctx, s, node, "get-many", false, func(ctx context.Context) ([]any, error) {
		return s.rdb.MGet(ctx, keys...).Result()
	})
	if err == nil && len(values) != len(keys) {
		err = &Error{Op: "get-many", Err: errors.New("reply of another length than the request")}
	}
	if err != nil {
		return err
	}
	for i, key := range keys {
		text, ok := values[i].(string)
		if !ok {
			out[i].Err = ErrNotFound
			continue
		}
		// As StringCmd.Bytes does: go-redis made the string for this reply, and nobody else has it.
		out[i].Record, out[i].Err = ParseRecord(key, unsafe.Slice(unsafe.StringData(text), len(text)))
		out[i].Err = s.settle(ctx, key, &out[i].Record, out[i].Err)
	}
	return nil
}

func (s *Store) pipelinedGets(ctx context.Context, node *breaker, keys []string, out []Result) error {
	cmds, err := call(ctx, s, node, "get-many", false, func(ctx context.Context) ([]*redis.StringCmd, error) {
		return pipelined(ctx, s.rdb, keys, func(p redis.Pipeliner, key string) *redis.StringCmd { return p.Get(ctx, key) })
	})
	if err != nil {
		return err
	}
	for i, key := range keys {
		data, cmdErr := cmds[i].Bytes()
		if cmdErr != nil {
			out[i].Err = classify("get-many", false, cmdErr)
			continue
		}
		out[i].Record, out[i].Err = ParseRecord(key, data)
		out[i].Err = s.settle(ctx, key, &out[i].Record, out[i].Err)
	}
	return nil
}

// pipelined sends one read for each key. The results are in the commands; an error is given only when every command
// failed for want of a server, so that the breaker hears of it, or when none was sent: go-redis leaves the commands
// without an error of their own then, if it was the server that turned the connection away, and an unread reply would
// pass for an empty one.
func pipelined[C redis.Cmder](ctx context.Context, rdb redis.UniversalClient, keys []string, add func(redis.Pipeliner, string) C) ([]C, error) {
	pipe := rdb.Pipeline()
	cmds := make([]C, len(keys))
	for i, key := range keys {
		cmds[i] = add(pipe, key)
	}
	_, err := pipe.Exec(ctx)
	if err == nil {
		return cmds, nil
	}
	unsent := !slices.ContainsFunc(cmds, func(c C) bool { return c.Err() != nil })
	if unsent || !slices.ContainsFunc(cmds, func(c C) bool { return !isOutage(classify("pipeline", false, c.Err())) }) {
		return nil, err
	}
	return cmds, nil
}

// Write is one entry of SetMany.
type Write struct {
	Key          string
	Record       *Record
	Announcement *Announcement
}

// SetMany stores each entry as Set does. Entries one after the other that share an Announcement are announced once, and on one
// server stored by one script.
func (s *Store) SetMany(ctx context.Context, writes []Write) []error {
	changes, errs := make([]change, len(writes)), make([]error, len(writes))
	for i, w := range writes {
		raw, err := AppendRecord(make([]byte, 0, recordSize(w.Key, w.Record)), w.Key, w.Record)
		errs[i] = err
		changes[i] = change{key: w.Key, a: w.Announcement, stored: w.Record, args: []any{raw, w.Record.lifetime()}}
	}
	s.changeMany(ctx, "set-many", setting, changes, errs, func(int, []any) {})
	return errs
}

// Deletion is one key of DeleteMany. Its announcement may be nil.
type Deletion struct {
	Key          string
	Floor        uint64
	Announcement *Announcement
}

// DeleteMany deletes each key as Delete does. Keys one after the other that share an Announcement are announced once, and on one
// server deleted by one script.
func (s *Store) DeleteMany(ctx context.Context, deletions []Deletion) ([]bool, []error) {
	changes, errs := make([]change, len(deletions)), make([]error, len(deletions))
	for i, d := range deletions {
		changes[i] = change{key: d.Key, a: d.Announcement, args: []any{floorArg(d.Floor)}}
	}
	existed := make([]bool, len(deletions))
	s.changeMany(ctx, "delete-many", deleting, changes, errs, func(i int, rest []any) {
		var n int64
		n, errs[i] = first[int64]("delete-many", rest)
		existed[i] = n > 0
	})
	return existed, errs
}

// scriptMany runs one script for many keys, in a round trip for each portion. Calls whose error is set already are left
// out; done is told the reply of each that succeeded. write is as for call. done is called by one goroutine at a time.
func (s *Store) scriptMany(ctx context.Context, op string, write bool, sc script, calls []scriptCall, errs []error, done func(i int, reply any)) {
	s.scriptManyThen(ctx, op, write, sc, calls, errs, func(context.Context, portion, []reply) {}, done)
}

// scriptManyThen is scriptMany whose round trips call then with their context and replies, whether the caller waits for
// them still or has left.
func (s *Store) scriptManyThen(ctx context.Context, op string, write bool, sc script, calls []scriptCall, errs []error,
	then func(ctx context.Context, p portion, got []reply), done func(i int, reply any),
) {
	var which []int
	keys := make([]string, len(calls))
	for i, err := range errs {
		if err == nil {
			which, keys[i] = append(which, i), calls[i].keys[0]
		}
	}
	var mu sync.Mutex // a portion's end at a time
	eachNode(s.byNode(ctx, keys, which), func(p portion) error {
		chunk := make([]scriptCall, len(p.part))
		for j, i := range p.part {
			chunk[j] = calls[i]
		}
		got, err := call(ctx, s, p.node, op, write, func(ctx context.Context) ([]reply, error) {
			cmds := sc.pipeline(ctx, s.rdb, chunk)
			got := make([]reply, len(cmds))
			outage := true
			for j, c := range cmds {
				got[j] = reply{c.Val(), classify(op, write && wasSent(ctx, c.Err()), c.Err())}
				outage = outage && isOutage(got[j].err)
			}
			then(ctx, p, got)
			if outage {
				// The breaker hears of the first, but each command keeps its own: one may have been sent where another was not.
				return got, got[0].err
			}
			return got, nil
		})
		mu.Lock()
		defer mu.Unlock()
		for j, i := range p.part {
			if got == nil {
				errs[i] = err
				continue
			}
			if errs[i] = got[j].err; errs[i] == nil {
				done(i, got[j].val)
			}
		}
		return err
	}, func(p portion, err error) {
		err = unsent(op, err)
		mu.Lock()
		defer mu.Unlock()
		for _, i := range p.part {
			errs[i] = err
		}
	})
}

// reply is what became of one command of a pipeline.
type reply struct {
	val any
	err error // classified
}

// unsent is the error of what was not sent to a server because what was sent before met the outage err.
func unsent(op string, err error) error {
	e := &Error{Op: op, Err: err, kinds: []error{ErrUnavailable}}
	if cause := (*Error)(nil); errors.As(err, &cause) {
		e.Err = cause.Err
	}
	return e
}

// Claim is one key of AcquireMany: the lease to take, and how it went. Found and Err are as for Acquire.
type Claim struct {
	Key   string
	Token Token
	Stamp uint64
	Tags  []Tag
	// Replaces is as for Acquire.
	Replaces []byte
	Won      bool
	Found    Record
	Err      error
}

// AcquireMany takes a lease under each key, as Acquire does for one. Leases that are granted after it has returned an
// error for them are given back in the background.
func (s *Store) AcquireMany(ctx context.Context, claims []Claim, life time.Duration) {
	calls, errs := make([]scriptCall, len(claims)), make([]error, len(claims))
	tokens := make([]Token, len(claims)) // claims are the caller's, who may have left
	now := time.Now()
	for i := range claims {
		tokens[i] = claims[i].Token
		lease := Record{Kind: KindLease, Token: claims[i].Token, Stamp: claims[i].Stamp, Created: now, TTL: life, Tags: claims[i].Tags}
		raw, err := AppendRecord(nil, claims[i].Key, &lease)
		errs[i] = err
		calls[i] = scriptCall{keys: []string{claims[i].Key}, args: []any{raw, lease.lifetime(), claims[i].Replaces}}
	}
	granted := func(ctx context.Context, p portion, got []reply) {
		leases, outcomes := make([]Renewal, len(got)), make([]error, len(got))
		for j, i := range p.part {
			leases[j], outcomes[j] = Renewal{Key: calls[i].keys[0], Token: tokens[i][:]}, got[j].err
		}
		s.owes(ctx, life, leases, outcomes)
	}
	s.scriptManyThen(ctx, "acquire-many", true, scriptAcquire, calls, errs, granted, func(i int, v any) {
		text, _ := v.(string)
		claims[i].Found, claims[i].Err = ParseRecord(claims[i].Key, []byte(text))
		claims[i].Err = s.settle(ctx, claims[i].Key, &claims[i].Found, claims[i].Err)
	})
	for i, err := range errs {
		switch {
		case errors.Is(err, ErrNotFound): // nothing was there: Redis says so with a nil
			claims[i].Won = true
		case err != nil:
			claims[i].Err = err
		}
	}
}

// Filling is one record of FillMany. Seen is as for Fill.
type Filling struct {
	Key    string
	Seen   []byte
	Record *Record
}

// FillMany stores each record as Fill does.
func (s *Store) FillMany(ctx context.Context, fillings []Filling) ([]Filled, []error) {
	calls, errs := make([]scriptCall, 0, len(fillings)), make([]error, len(fillings))
	at := make([]int, 0, len(fillings)) // index of each call's filling
	for i, f := range fillings {
		if len(f.Seen) == 0 {
			continue // it would match the absence of a record
		}
		raw, err := AppendRecord(make([]byte, 0, recordSize(f.Key, f.Record)), f.Key, f.Record)
		if err != nil {
			errs[i] = err
			continue
		}
		calls = append(calls, scriptCall{keys: []string{f.Key}, args: []any{f.Seen, raw, f.Record.lifetime()}})
		at = append(at, i)
	}
	stored, callErrs := make([]Filled, len(fillings)), make([]error, len(calls))
	s.scriptMany(ctx, "fill-many", true, scriptFill, calls, callErrs, func(j int, v any) {
		n, _ := v.(int64)
		stored[at[j]] = filled(n)
	})
	for j, err := range callErrs {
		if err != nil {
			errs[at[j]] = err
		}
	}
	return stored, errs
}
