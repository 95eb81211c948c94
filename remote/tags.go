package remote

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// TagVersions gives the versions of tags, making those that do not exist yet when life is given (nil: they are only
// read). A tag without a version has the zero Token, which no entry carries.
//
// No error matches ErrUnknownOutcome: whether a version was made matters to nobody who has not been given it.
func (s *Store) TagVersions(ctx context.Context, keys []string, life *time.Duration) ([]Token, error) {
	out := make([]Token, len(keys))
	if life == nil {
		var mu sync.Mutex
		var failed error
		eachNode(s.byNode(ctx, keys, indexes(len(keys))), func(p portion) error {
			some := make([]string, len(p.part))
			for j, i := range p.part {
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
				copy(out[p.part[j]][:], v)
			}
			if err != nil && failed == nil {
				failed = err
			}
			return err
		}, func(portion, error) {})
		if failed != nil {
			return nil, failed
		}
		return out, nil
	}
	if m := mannerOf(ctx); m.until.IsZero() { // it is part of a change
		m.Context, m.change = ctx, true
		ctx = &m
	}
	calls, errs := make([]scriptCall, len(keys)), make([]error, len(keys))
	px := (&Record{TTL: *life}).lifetime()
	for i, key := range keys {
		fresh := NewToken()
		calls[i] = scriptCall{keys: []string{key}, args: []any{fresh[:], px}}
	}
	s.scriptMany(ctx, "tags", false, scriptTag, calls, errs, func(i int, v any) {
		text, _ := v.(string)
		copy(out[i][:], text)
	})
	return out, errors.Join(errs...)
}

// ExtendTags makes the versions of tags last for at least life from now (0: for ever), so that they do not end before
// an entry that carries them. A tag without a version gets none. As for TagVersions, no error matches
// ErrUnknownOutcome.
func (s *Store) ExtendTags(ctx context.Context, keys []string, life time.Duration) error {
	calls, errs := make([]scriptCall, len(keys)), make([]error, len(keys))
	px := (&Record{TTL: life}).lifetime()
	for i, key := range keys {
		calls[i] = scriptCall{keys: []string{key}, args: []any{px}}
	}
	s.scriptMany(ctx, "extend-tags", false, scriptKeep, calls, errs, func(int, any) {})
	return errors.Join(errs...)
}
