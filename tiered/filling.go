package tiered

import (
	"context"
	"errors"

	"github.com/doppio-cache/doppio/remote"
)

// claiming takes leases, and filling stores what was loaded under them: alone, or in one pipeline with those of other keys when
// many are loaded at the same time.
type (
	claiming struct{ combining[claimed] }
	filling  struct{ combining[filled] }
)

type claimed struct {
	remote.Claim
	ctx context.Context //nolint:containedctx // its flight's, for what it carries, not for its end
}

type filled struct {
	remote.Filling
	ctx   context.Context //nolint:containedctx // likewise
	found remote.Filled
	err   error
}

func newClaiming(c *Client) *claiming {
	b := &claiming{}
	b.client, b.most = c, maxTogether
	b.fly = func(group []*combined[claimed]) {
		claims := make([]remote.Claim, len(group))
		for i, w := range group {
			claims[i] = w.call.Claim
		}
		c.far.AcquireMany(remote.Stay(group[0].call.ctx), claims, leaseLife)
		for i, w := range group {
			w.call.Claim = claims[i]
		}
	}
	b.refuse = func(call *claimed) { call.Err = ErrClosed }
	return b
}

func newFilling(c *Client) *filling {
	b := &filling{}
	b.client, b.most = c, maxTogether
	b.fly = func(group []*combined[filled]) {
		fillings := make([]remote.Filling, len(group))
		for i, w := range group {
			fillings[i] = w.call.Filling
		}
		found, errs := c.far.FillMany(remote.Stay(group[0].call.ctx), fillings)
		for i, w := range group {
			w.call.found, w.call.err = found[i], errs[i]
		}
	}
	b.refuse = func(call *filled) { call.err = ErrClosed }
	return b
}

// acquire takes a lease. It ends with the far tier's timeout, not with ctx: a lease that nobody knows of would keep others waiting.
func (b *claiming) acquire(ctx context.Context, claim remote.Claim) remote.Claim {
	ctx = context.WithoutCancel(ctx)
	if b.client.far.OneStep() { // else keys lie on several servers, of which one may be down
		p, ok := b.alone()
		if !ok {
			ended := b.client.far.Joined(ctx, "acquire")
			w, _, _ := b.join(ctx, claimed{claim, ctx})
			ended(w.call.Err)
			return w.call.Claim
		}
		defer b.land(p)
	}
	claim.Won, claim.Found, claim.Err = b.client.far.Acquire(remote.Stay(ctx), claim.Key, claim.Token, claim.Stamp, leaseLife, claim.Replaces, claim.Tags...)
	return claim
}

// fill stores what was loaded where what was seen is still in place. It ends with the far tier's timeout, not with ctx.
func (b *filling) fill(ctx context.Context, f remote.Filling) (remote.Filled, error) {
	if len(f.Seen) == 0 {
		return remote.Filled{}, nil // there is no right to fill
	}
	ctx = context.WithoutCancel(ctx)
	if b.client.far.OneStep() && !large(f.Record) {
		if p, ok := b.alone(); ok {
			defer b.land(p)
		} else {
			ended := b.client.far.Joined(ctx, "fill")
			w, _, _ := b.join(ctx, filled{Filling: f, ctx: ctx})
			ended(w.call.err)
			if !errors.Is(w.call.err, ErrClosed) {
				return w.call.found, w.call.err
			}
			// The client is closing, and waits for this: others may be waiting for the lease.
		}
	}
	return b.client.far.Fill(ctx, f.Key, f.Seen, f.Record)
}
