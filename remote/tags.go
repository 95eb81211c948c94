package remote

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/luascript"
)

// TagVersions returns the versions of tags. If life is given, it creates the versions that do not
// exist; if life is nil, it only reads. A tag without a version has the zero Token, which no entry
// has.
//
// No error matches ErrUnknownOutcome: a version that was created and not returned concerns no
// entry.
func (s *Store) TagVersions(ctx context.Context, keys []string, life *time.Duration) ([]Token, error) {
	out := make([]Token, len(keys))
	if life == nil {
		var mu sync.Mutex
		var failed error
		eachNode(s.splitByNode(ctx, keys, indexesTo(len(keys))), func(p batchPart) error {
			some := make([]string, len(p.indexes))
			for j, i := range p.indexes {
				some[j] = keys[i]
			}
			cmds, err := call(ctx, s, p.node, "tags", false, func(ctx context.Context) ([]*redis.StringCmd, error) {
				return pipelined(ctx, s.rdb, some, func(p redis.Pipeliner, key string) *redis.StringCmd { return p.Get(ctx, key) })
			})
			mu.Lock()
			defer mu.Unlock()
			for j, c := range cmds {
				v, cmdErr := c.Bytes()
				cmdErr = classify("tags", false, cmdErr)
				if cmdErr != nil && !errors.Is(cmdErr, ErrNotFound) && !errors.Is(cmdErr, ErrWrongType) {
					err = cmdErr
				}
				copy(out[p.indexes[j]][:], v)
			}
			if err != nil && failed == nil {
				failed = err
			}
			return err
		}, func(batchPart, error) {})
		if failed != nil {
			return nil, failed
		}
		return out, nil
	}
	if m := callModeOf(ctx); m.deadline.IsZero() { // the versions are for a change
		m.Context, m.partOfChange = ctx, true
		ctx = &m
	}
	b := newScriptBatch("tags", false, scriptTagVersion, len(keys))
	px := (&Record{TTL: *life}).remoteTTL()
	for i, key := range keys {
		version := NewToken()
		b.calls[i] = luascript.Call{Keys: []string{key}, Args: []any{version[:], px}}
	}
	b.done = func(i int, v any) {
		text, _ := v.(string)
		copy(out[i][:], text)
	}
	s.runScripts(ctx, b)
	return out, errors.Join(b.errs...)
}

// ExtendTags makes the versions of tags last for at least life from now (0: without end), so that
// they do not end before an entry with these tags. It creates no version. No error matches
// ErrUnknownOutcome, as for TagVersions.
func (s *Store) ExtendTags(ctx context.Context, keys []string, life time.Duration) error {
	b := newScriptBatch("extend-tags", false, scriptExtendTTL, len(keys))
	px := (&Record{TTL: life}).remoteTTL()
	for i, key := range keys {
		b.calls[i] = luascript.Call{Keys: []string{key}, Args: []any{px}}
	}
	b.done = func(int, any) {}
	s.runScripts(ctx, b)
	return errors.Join(b.errs...)
}
