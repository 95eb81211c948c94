package remote

import (
	"context"
	"errors"
	"slices"
	"sync"
	"unsafe"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/luascript"
)

// The methods for many keys return the result of each key at the key's index. Some keys may fail
// while others succeed.

// Result is the result of GetMany for one key. Err is as for Get.
type Result struct {
	Record Record
	Err    error
}

// GetMany reads the records of keys: with MGET from one server, with pipelined GETs from a Cluster.
// MGET reports a key of another Redis type as absent. If a server does not answer, its other keys
// are not asked for, and have the same error.
func (s *Store) GetMany(ctx context.Context, keys []string) []Result {
	if s.onCluster() {
		return s.GetEach(ctx, keys)
	}
	return s.readEach(ctx, keys, s.mget)
}

// GetEach reads the records of keys, each as Get does, in one pipeline for each server. A key of
// another Redis type has the error ErrWrongType.
func (s *Store) GetEach(ctx context.Context, keys []string) []Result {
	return s.readEach(ctx, keys, s.pipelinedGets)
}

// readEach reads the records of keys. read makes one round trip to one server; its error is that of
// all its keys.
func (s *Store) readEach(ctx context.Context, keys []string,
	read func(ctx context.Context, node *breaker, keys []string, out []Result) error,
) []Result {
	out := make([]Result, len(keys))
	if !s.onCluster() && len(keys) <= s.opts.BatchSize {
		setErrors(out, read(ctx, s.routes.single, keys, out))
		return out
	}
	eachNode(s.splitByNode(ctx, keys, indexesTo(len(keys))), func(p batchPart) error {
		some, found := make([]string, len(p.indexes)), make([]Result, len(p.indexes))
		for j, i := range p.indexes {
			some[j] = keys[i]
		}
		err := read(ctx, p.node, some, found)
		setErrors(found, err)
		for j, i := range p.indexes {
			out[i] = found[j]
		}
		return err
	}, func(p batchPart, err error) {
		for _, i := range p.indexes {
			out[i].Err = err
		}
	})
	return out
}

func setErrors(out []Result, err error) {
	if err == nil {
		return
	}
	for i := range out {
		out[i].Err = err
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
		// As StringCmd.Bytes does: go-redis made the string for this reply, and no other code has
		// it.
		out[i].Record, out[i].Err = ParseRecord(key, unsafe.Slice(unsafe.StringData(text), len(text)))
		out[i].Err = s.setEnds(ctx, key, &out[i].Record, out[i].Err)
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
		out[i].Err = s.setEnds(ctx, key, &out[i].Record, out[i].Err)
	}
	return nil
}

// pipelined sends one read for each key. The results are in the commands. The returned error is set
// only if every command failed because no server answered, so that the breaker learns of it, or if
// none was sent. In the latter case go-redis leaves the commands without an error if the server
// turned the connection away, and an unread reply would look like an empty one.
func pipelined[C redis.Cmder](ctx context.Context, rdb redis.UniversalClient, keys []string,
	add func(redis.Pipeliner, string) C,
) ([]C, error) {
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

// SetMany stores each entry as Set does. Consecutive entries that share an Announcement are
// announced once. On one server they are stored by one script.
func (s *Store) SetMany(ctx context.Context, writes []Write) []error {
	b := newBatchWrite("set-many", setScripts, len(writes))
	for i, w := range writes {
		raw, err := AppendRecord(make([]byte, 0, recordSize(w.Key, w.Record)), w.Key, w.Record)
		b.errs[i] = err
		b.plans[i] = writePlan{key: w.Key, announcement: w.Announcement, record: w.Record, args: []any{raw, w.Record.remoteTTL()}}
	}
	b.done = func(int, []any) {}
	s.writeMany(ctx, b)
	return b.errs
}

// Deletion is one key of DeleteMany. Its announcement may be nil.
type Deletion struct {
	Key          string
	Floor        uint64
	Announcement *Announcement
}

// DeleteMany deletes each key as Delete does. Consecutive keys that share an Announcement are
// announced once. On one server they are deleted by one script.
func (s *Store) DeleteMany(ctx context.Context, deletions []Deletion) ([]bool, []error) {
	b := newBatchWrite("delete-many", deleteScripts, len(deletions))
	for i, d := range deletions {
		b.plans[i] = writePlan{key: d.Key, announcement: d.Announcement, args: []any{stampArg(d.Floor)}}
	}
	existed := make([]bool, len(deletions))
	b.done = func(i int, results []any) {
		var n int64
		n, b.errs[i] = firstPart[int64](b.op, results)
		existed[i] = n > 0
	}
	s.writeMany(ctx, b)
	return existed, b.errs
}

// Removal is one key of CompareAndDelete. Seen is the token of the record to remove, as for Fill.
type Removal struct {
	Key          string
	Seen         []byte
	Announcement *Announcement
}

// CompareAndDelete removes each record that still has the token that was seen, and announces the
// removal. A record that has replaced it stays, and nothing is announced. gone says which records
// were removed. It works when Redis is out of memory.
func (s *Store) CompareAndDelete(ctx context.Context, removals []Removal) (gone []bool, errs []error) {
	b := newBatchWrite("retire", compareAndDeleteScripts, len(removals))
	for i, r := range removals {
		b.plans[i] = writePlan{key: r.Key, announcement: r.Announcement, args: []any{r.Seen}}
	}
	gone = make([]bool, len(removals))
	b.done = func(i int, _ []any) {
		a := b.plans[i].announcement
		gone[i] = a == nil || a.ID > 0
	}
	s.writeMany(ctx, b)
	return gone, b.errs
}

// scriptBatch is a batch of runs of one script, with the first key of each call on its server.
type scriptBatch struct {
	op     string
	write  bool // as for call
	script luascript.Script
	calls  []luascript.Call
	errs   []error                // of each call; a call whose error is set already is left out
	done   func(i int, reply any) // called for each call that succeeded, by one goroutine at a time
	// onReplies, if set, is called in each round trip, whether or not the caller still waits.
	onReplies func(ctx context.Context, p batchPart, replies []reply)
}

func newScriptBatch(op string, write bool, sc luascript.Script, n int) *scriptBatch {
	return &scriptBatch{op: op, write: write, script: sc, calls: make([]luascript.Call, n), errs: make([]error, n)}
}

// runScripts runs the script of a batch for each call, with a round trip for each part.
func (s *Store) runScripts(ctx context.Context, b *scriptBatch) {
	var indexes []int
	keys := make([]string, len(b.calls))
	for i, err := range b.errs {
		if err == nil {
			indexes, keys[i] = append(indexes, i), b.calls[i].Keys[0]
		}
	}
	var mu sync.Mutex // guards b.errs, and is held while b.done is called
	eachNode(s.splitByNode(ctx, keys, indexes), func(p batchPart) error {
		calls := make([]luascript.Call, len(p.indexes))
		for j, i := range p.indexes {
			calls[j] = b.calls[i]
		}
		replies, err := call(ctx, s, p.node, b.op, b.write, func(ctx context.Context) ([]reply, error) {
			cmds := b.script.Pipeline(ctx, s.rdb, calls)
			replies := make([]reply, len(cmds))
			outage := true
			for j, c := range cmds {
				replies[j] = reply{c.Val(), classify(b.op, b.write && wasSent(ctx, c.Err()), c.Err())}
				outage = outage && isOutage(replies[j].err)
			}
			if b.onReplies != nil {
				b.onReplies(ctx, p, replies)
			}
			if outage {
				// The breaker learns of the first error, but each command keeps its own: some may
				// have been sent.
				return replies, replies[0].err
			}
			return replies, nil
		})
		mu.Lock()
		defer mu.Unlock()
		for j, i := range p.indexes {
			if replies == nil {
				b.errs[i] = err
				continue
			}
			if b.errs[i] = replies[j].err; b.errs[i] == nil {
				b.done(i, replies[j].val)
			}
		}
		return err
	}, func(p batchPart, err error) {
		err = unsent(b.op, err)
		mu.Lock()
		defer mu.Unlock()
		for _, i := range p.indexes {
			b.errs[i] = err
		}
	})
}

// reply is the result of one command of a pipeline.
type reply struct {
	val any
	err error // classified
}

// unsent returns the error of a command that was not sent since an earlier one to the same server
// met the outage err.
func unsent(op string, err error) error {
	e := &Error{Op: op, Err: err, kinds: []error{ErrUnavailable}}
	if cause := (*Error)(nil); errors.As(err, &cause) {
		e.Err = cause.Err
	}
	return e
}
