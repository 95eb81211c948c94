package tiered

import (
	"context"

	"github.com/doppio-cache/doppio/remote"
)

// reading makes far reads: alone, or together in one pipeline when many are asked for. Of a key that several wait for there is one read:
// it has not begun when the last of them comes.
type reading struct{ combining[look] }

// look is one far read, and what it found.
type look struct {
	key string
	ctx context.Context //nolint:containedctx // its caller's, for what it carries, not for its end
	rec remote.Record
	err error
}

func newReading(c *Client) *reading {
	r := &reading{}
	r.client, r.most = c, maxTogether
	r.fly = func(group []*combined[look]) {
		keys := make([]string, 0, len(group))
		at := make(map[string]int, len(group))
		for _, w := range group {
			if _, twice := at[w.call.key]; !twice {
				at[w.call.key] = len(keys)
				keys = append(keys, w.call.key)
			}
		}
		found := c.far.GetEach(remote.Stay(context.WithoutCancel(group[0].call.ctx)), keys)
		for _, w := range group {
			f := &found[at[w.call.key]]
			w.call.rec, w.call.err = f.Record, f.Err
		}
	}
	r.refuse = func(l *look) { l.err = ErrClosed }
	return r
}

// get reads the record under a far key. The caller may leave with ctx.
func (r *reading) get(ctx context.Context, key string) (remote.Record, error) {
	if !r.client.far.OneStep() { // keys lie on several servers, of which one may be down
		return r.client.far.Get(ctx, key)
	}
	if p, ok := r.alone(); ok {
		defer r.land(p)
		return r.client.far.Get(ctx, key)
	}
	ended := r.client.far.Joined(ctx, "get")
	w, made, _ := r.join(ctx, look{key: key, ctx: ctx})
	if !made {
		err := remote.Left(ctx, "get", false)
		ended(err)
		return remote.Record{}, err
	}
	ended(w.call.err)
	return w.call.rec, w.call.err
}
