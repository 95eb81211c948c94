package tiered

import (
	"context"
	"errors"

	"github.com/doppio-cache/doppio/internal/coalesce"
	"github.com/doppio-cache/doppio/internal/coherence"
	"github.com/doppio-cache/doppio/remote"
)

// coalesced makes the calls to the remote tier of which many are made at the same time: reads,
// leases and fills in a pipeline, Sets and Deletes in one script with one message for all of their
// keys, so that every other instance, too, has less to do. On a Cluster each call is made alone:
// keys lie on several servers, one of which may be down.
type coalesced struct {
	client  *Client
	reads   *coalesce.Group[string, remote.Record]
	leases  *coalesce.Group[remote.LeaseRequest, remote.LeaseResult]
	fills   *coalesce.Group[remote.FillRequest, remote.FillResult]
	sets    []*coalesce.Group[*write, bool] // by lane, since the changes of a batch share their message
	deletes []*coalesce.Group[*write, bool] // likewise
}

// write is a Set or a Delete.
type write struct {
	coherence.Change
	record *remote.Record // of a Set
	floor  uint64         // of a Delete
}

type (
	readCall  = coalesce.Call[string, remote.Record]
	leaseCall = coalesce.Call[remote.LeaseRequest, remote.LeaseResult]
	fillCall  = coalesce.Call[remote.FillRequest, remote.FillResult]
	writeCall = coalesce.Call[*write, bool]
)

// largeRecord is from when on a record is sent alone. It gains nothing by company, and the smaller
// ones would wait for it; of those, coalesce.Max are 1 MiB at most, which Redis takes in one
// script.
const largeRecord = 16 << 10

func large(r *remote.Record) bool { return r != nil && len(r.Payload) >= largeRecord }

// newGroup returns what makes the calls of one kind. op names them in spans.
func newGroup[Req, Res any](c *Client, op string, run func(ctx context.Context, calls []*coalesce.Call[Req, Res])) *coalesce.Group[Req, Res] {
	return &coalesce.Group[Req, Res]{
		// Its callers may leave; the batch ends by the remote tier's own timeout.
		Run: func(calls []*coalesce.Call[Req, Res]) {
			run(remote.NoDetach(context.WithoutCancel(calls[0].Ctx)), calls)
		},
		Start: c.start, Done: c.running.Done, Closed: ErrClosed,
		Waiting: func(ctx context.Context) func(error) { return c.remote.StartSpan(ctx, op) },
		Left:    func(ctx context.Context, _ bool) error { return remote.AbandonedError(ctx, op, false) }, // nothing is changed
	}
}

func newCoalesced(c *Client) *coalesced {
	g := &coalesced{client: c}
	g.reads = newGroup(c, "get", g.runReads)
	g.leases = newGroup(c, "acquire", g.runLeases)
	g.fills = newGroup(c, "fill", g.runFills)
	g.sets = make([]*coalesce.Group[*write, bool], c.opts.Lanes)
	g.deletes = make([]*coalesce.Group[*write, bool], c.opts.Lanes)
	for i := range g.sets {
		g.sets[i], g.deletes[i] = newGroup(c, "set", g.runSets), newGroup(c, "delete", g.runDeletes)
		g.sets[i].Seal, g.deletes[i].Seal = g.announce, g.announce
		g.sets[i].Left, g.deletes[i].Left = leftChange("set"), leftChange("delete")
	}
	return g
}

// leftChange is the error of a change whose caller left: in doubt once it was sealed.
func leftChange(op string) func(ctx context.Context, sealed bool) error {
	return func(ctx context.Context, sealed bool) error { return remote.AbandonedError(ctx, op, sealed) }
}

// read reads the record under a remote key. Several reads of a key that wait share one: it begins
// when the last of them has come. The caller may leave with ctx.
func (g *coalesced) read(ctx context.Context, key string) (remote.Record, error) {
	if !g.client.remote.Atomic() {
		return g.client.remote.Get(ctx, key)
	}
	return g.reads.Do(ctx, key, func() (remote.Record, error) { return g.client.remote.Get(ctx, key) })
}

// readMany reads the records under remote keys. A single one may share a pipeline with those of
// others.
func (g *coalesced) readMany(ctx context.Context, keys []string) []remote.Result {
	if len(keys) != 1 {
		return g.client.remote.GetMany(ctx, keys)
	}
	rec, err := g.read(ctx, keys[0])
	return []remote.Result{{Record: rec, Err: err}}
}

func (g *coalesced) runReads(ctx context.Context, calls []*readCall) {
	keys := make([]string, 0, len(calls))
	at := make(map[string]int, len(calls))
	for _, c := range calls {
		if _, twice := at[c.Req]; !twice {
			at[c.Req] = len(keys)
			keys = append(keys, c.Req)
		}
	}
	found := g.client.remote.GetEach(ctx, keys)
	for _, c := range calls {
		f := &found[at[c.Req]]
		c.Res, c.Err = f.Record, f.Err
	}
}

// acquire takes a lease. It ends with the remote tier's timeout, not with ctx: a lease that no load
// knows of would keep others waiting.
func (g *coalesced) acquire(ctx context.Context, r remote.LeaseRequest) remote.LeaseResult {
	ctx = context.WithoutCancel(ctx)
	alone := func() (remote.LeaseResult, error) {
		acquired, found, err := g.client.remote.Acquire(remote.NoDetach(ctx), r, leaseLife)
		return remote.LeaseResult{Acquired: acquired, Found: found, Err: err}, err
	}
	if !g.client.remote.Atomic() {
		res, _ := alone()
		return res
	}
	res, err := g.leases.Do(ctx, r, alone)
	res.Err = err
	return res
}

// acquireMany takes leases, as acquire does.
func (g *coalesced) acquireMany(ctx context.Context, requests []remote.LeaseRequest) []remote.LeaseResult {
	if len(requests) != 1 {
		return g.client.remote.AcquireMany(context.WithoutCancel(ctx), requests, leaseLife)
	}
	return []remote.LeaseResult{g.acquire(ctx, requests[0])}
}

func (g *coalesced) runLeases(ctx context.Context, calls []*leaseCall) {
	requests := make([]remote.LeaseRequest, len(calls))
	for i, c := range calls {
		requests[i] = c.Req
	}
	for i, r := range g.client.remote.AcquireMany(ctx, requests, leaseLife) {
		calls[i].Res, calls[i].Err = r, r.Err
	}
}

// fill stores a loaded record where what was seen is still in place. It ends with the remote tier's
// timeout, not with ctx.
func (g *coalesced) fill(ctx context.Context, f remote.FillRequest) (remote.FillResult, error) {
	if len(f.Seen) == 0 {
		return remote.FillResult{}, nil // there is no right to fill
	}
	ctx = context.WithoutCancel(ctx)
	alone := func() (remote.FillResult, error) { return g.client.remote.Fill(ctx, f.Key, f.Seen, f.Record) }
	if !g.client.remote.Atomic() || large(f.Record) {
		return alone()
	}
	filled, err := g.fills.Do(ctx, f, alone)
	if errors.Is(err, ErrClosed) {
		// The client is closing, and waits for this: others may be waiting for the lease.
		return alone()
	}
	return filled, err
}

// fillRequest is a loaded record to be stored, and how that ended.
type fillRequest struct {
	remote.FillRequest
	at     int // which key of its load it is of
	filled remote.FillResult
	err    error
}

// fillMany stores loaded records, as fill does.
func (g *coalesced) fillMany(ctx context.Context, fills []fillRequest) {
	if len(fills) == 1 {
		fills[0].filled, fills[0].err = g.fill(ctx, fills[0].FillRequest)
		return
	}
	fillings := make([]remote.FillRequest, len(fills))
	for i := range fills {
		fillings[i] = fills[i].FillRequest
	}
	filled, errs := g.client.remote.FillMany(context.WithoutCancel(ctx), fillings)
	for i := range fills {
		fills[i].filled, fills[i].err = filled[i], errs[i]
	}
}

func (g *coalesced) runFills(ctx context.Context, calls []*fillCall) {
	fillings := make([]remote.FillRequest, len(calls))
	for i, c := range calls {
		fillings[i] = c.Req
	}
	filled, errs := g.client.remote.FillMany(ctx, fillings)
	for i, c := range calls {
		c.Res, c.Err = filled[i], errs[i]
	}
}

// set stores a record, and delete removes one. Each announces the change. The caller may leave
// with ctx: a change that was not sent by then is not made.
func (g *coalesced) set(ctx context.Context, w *write) error {
	_, err := g.change(ctx, g.sets[w.Lane], "set", w, func() (bool, error) {
		return false, g.client.remote.Set(ctx, w.Key, w.record, w.Announcement())
	})
	return err
}

func (g *coalesced) delete(ctx context.Context, w *write) (existed bool, err error) {
	return g.change(ctx, g.deletes[w.Lane], "delete", w, func() (bool, error) {
		return g.client.remote.Delete(ctx, w.Key, w.floor, w.Announcement())
	})
}

func (g *coalesced) change(ctx context.Context, group *coalesce.Group[*write, bool], op string, w *write, send func() (bool, error)) (bool, error) {
	alone := func() (bool, error) {
		coherence.Announce(&w.Change)
		return send()
	}
	if !g.client.remote.Atomic() || large(w.record) {
		return alone()
	}
	if ctx.Err() != nil {
		return false, remote.AbandonedError(ctx, op, false)
	}
	return group.Do(ctx, w, alone)
}

// announce gives changes that are about to be made together the announcement that they share.
func (g *coalesced) announce(calls []*writeCall) {
	changes := make([]*coherence.Change, len(calls))
	for i, c := range calls {
		changes[i] = &c.Req.Change
	}
	coherence.Announce(changes...)
}

func (g *coalesced) runSets(ctx context.Context, calls []*writeCall) {
	writes := make([]remote.Write, len(calls))
	for i, c := range calls {
		writes[i] = remote.Write{Key: c.Req.Key, Record: c.Req.record, Announcement: c.Req.Announcement()}
	}
	for i, err := range g.client.remote.SetMany(ctx, writes) {
		calls[i].Err = err
	}
}

func (g *coalesced) runDeletes(ctx context.Context, calls []*writeCall) {
	deletions := make([]remote.Deletion, len(calls))
	for i, c := range calls {
		deletions[i] = remote.Deletion{Key: c.Req.Key, Floor: c.Req.floor, Announcement: c.Req.Announcement()}
	}
	existed, errs := g.client.remote.DeleteMany(ctx, deletions)
	for i, c := range calls {
		c.Res, c.Err = existed[i], errs[i]
	}
}
