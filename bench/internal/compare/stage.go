package compare

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/doppio-cache/doppio/bench/internal/peers"
)

const (
	ttl      = time.Hour // of entries: longer than any run
	poolSize = 64        // connections: more than there are callers
)

// stage is what the subjects have opened for the rows of a group, when the first of them is measured.
type stage[V any] struct {
	s         *session
	b         *bench[V]
	baselines []string
	local     bool  // with the local tiers of those that have one
	remote    bool  // only those that have a remote tier; otherwise only those that have a local one
	any       bool  // all, whatever tiers they have
	entries   int64 // of local tiers
	copies    int   // instances of each subject, which share a namespace
	fill      func(ctx context.Context, p *player[V]) error

	opened  bool
	players []*player[V]
}

// player is one subject on a stage.
type player[V any] struct {
	name    string
	missing string // why it does not play
	caches  []peers.Cache[V]
	ns      string // of the entries of all caches
	local   bool
	remote  bool
}

// cache is the only one, where there are no copies.
func (p *player[V]) cache() peers.Cache[V] { return p.caches[0] }

// ready opens and fills what the stage needs, once.
func (st *stage[V]) ready(ctx context.Context) error {
	if st.opened {
		return nil
	}
	st.opened = true
	for _, subject := range st.b.subjects {
		if !st.s.takesPart(subject.Info.Name, []*group{{rows: rowsOf(st.baselines)}}) {
			continue
		}
		p := &player[V]{name: subject.Info.Name, local: subject.Local && st.local, remote: subject.Remote}
		st.players = append(st.players, p)
		if err := st.open(ctx, subject, p); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			p.missing = err.Error()
		}
	}
	return nil
}

func rowsOf(baselines []string) []*row {
	rows := make([]*row, 0, len(baselines))
	for _, b := range baselines {
		rows = append(rows, &row{baseline: b})
	}
	return rows
}

var (
	errNoRemote = errors.New("it has no remote tier")
	errNoLocal  = errors.New("it has no local tier")
)

func (st *stage[V]) open(ctx context.Context, subject peers.Subject[V], p *player[V]) error {
	switch {
	case st.any:
	case st.remote && !subject.Remote:
		return errNoRemote
	case !st.remote && !subject.Local:
		return errNoLocal
	}
	p.ns = st.s.namespace()
	for range max(1, st.copies) {
		c, err := subject.Open(ctx, peers.Config{
			Addr: st.s.addr, DB: st.s.db, Namespace: p.ns, Entries: st.entries, TTL: ttl, PoolSize: poolSize, Local: p.local,
		})
		if err != nil {
			return err
		}
		p.caches = append(p.caches, c)
	}
	if st.fill == nil {
		return nil
	}
	if err := st.fill(ctx, p); err != nil {
		return fmt.Errorf("filling it: %w", err)
	}
	return nil
}

// close closes all caches, and removes what they left on the server.
func (st *stage[V]) close(ctx context.Context) error {
	var errs []error
	for _, p := range st.players {
		for _, c := range p.caches {
			if err := c.Close(); err != nil {
				errs = append(errs, fmt.Errorf("close %s: %w", p.name, err))
			}
		}
	}
	st.players = nil
	if st.opened {
		errs = append(errs, st.s.purge(ctx))
	}
	return errors.Join(errs...)
}

// purge removes this run's keys, which a group after this one would otherwise make Redis carry along.
func (s *session) purge(ctx context.Context) error {
	const batch = 1000
	client := s.srv.Client()
	var keys []string
	found := client.Scan(ctx, 0, "*"+s.srv.Namespace()+"*", batch).Iterator()
	for found.Next(ctx) {
		if keys = append(keys, found.Val()); len(keys) == batch {
			if err := client.Unlink(ctx, keys...).Err(); err != nil {
				return fmt.Errorf("remove keys: %w", err)
			}
			keys = keys[:0]
		}
	}
	if err := found.Err(); err != nil {
		return fmt.Errorf("remove keys: %w", err)
	}
	if len(keys) == 0 {
		return nil
	}
	return client.Unlink(ctx, keys...).Err()
}

// entrants lets each player take part with what task returns for it; its error says why it cannot.
func (st *stage[V]) entrants(task func(p *player[V], e *entrant) error) []*entrant {
	var out []*entrant
	for _, p := range st.players {
		e := &entrant{subject: p.name, missing: p.missing}
		if e.missing == "" {
			if err := task(p, e); err != nil {
				e.missing = err.Error()
			}
		}
		out = append(out, e)
	}
	return out
}

// each calls f for 0 … n−1 by so many callers, until one fails.
func each(ctx context.Context, callers, n int, f func(i int) error) error {
	var (
		next   atomic.Int64
		failed atomic.Pointer[error]
		all    sync.WaitGroup
	)
	for range min(callers, n) {
		all.Go(func() {
			for failed.Load() == nil && ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := f(i); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return ctx.Err()
}
