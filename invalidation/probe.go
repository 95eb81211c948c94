package invalidation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/doppio-cache/doppio/internal/lane"
)

const (
	// maxOpenProbes is how many probes may wait for a reply that is not yet too late to extend
	// trust.
	maxOpenProbes = 4
	// maxRunning is how many probes, and how many subscriptions, go-redis may not have returned
	// from. If the client has no ReadTimeout, one that hangs ends only with its connection, and a
	// new one takes another connection.
	maxRunning = 64
)

// errUnanswered is the error of a probe from which go-redis has not returned in time.
var errUnanswered = errors.New("the server has not answered a probe")

// probeInterval returns the time between two probes.
func (o Options) probeInterval() time.Duration { return max(o.MaxStaleness/4, time.Millisecond) }

// probes are the probes whose echoes may still come. Their numbers rise.
type probes struct {
	newest   uint64 // the number of the newest probe
	reported uint64 // the number of the newest probe whose reply was reported to the Handler
	open     []probe
	lastErr  error // the error of the probe that ended last
}

// probe is a probe whose echo may come over the subscription.
type probe struct {
	number uint64
	sentAt time.Time
	minID  lane.ID // an id that the lane had then, unless it lost it
}

// deferredTrust is an echo that named floors which this instance does not know yet. Trust waits for
// them.
type deferredTrust struct {
	sentAt time.Time
	floor  lane.ID
}

// probeRequest holds the arguments of a probe.
type probeRequest struct {
	subscription, number uint64
	newestFloor          string // the newest floor that this instance knows
	opening              []byte
}

// probeReply is the server's reply to a probe.
type probeReply struct {
	lanes       string
	newest      lane.ID
	newestFloor string
	floors      map[string]uint64 // nil: the newest floor is the one that the probe named
	unreadable  int               // how many floors are not ids; they are left out
}

// echo is the message that a probe makes the server publish to this receiver.
type echo struct {
	subscription, number uint64
	newest               lane.ID
	newestFloor          string
}

// probeLoop sends a probe every interval and checks that echoes come back.
func (r *Receiver) probeLoop(ctx context.Context) {
	tick := time.NewTicker(r.opts.probeInterval())
	defer tick.Stop()
	silence := time.NewTimer(r.opts.probeInterval())
	defer silence.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			r.sendProbe(ctx)
		case <-r.probeNowCh:
			r.sendProbe(ctx)
		case <-silence.C:
			silence.Reset(r.checkSilence(time.Now()))
		}
	}
}

// probeNow asks probeLoop for a probe at once.
func (r *Receiver) probeNow() {
	select {
	case r.probeNowCh <- struct{}{}:
	default:
	}
}

// sendProbe sends a probe from a goroutine of its own. Without a subscription, its reply still says
// which ids and floors the server has.
func (r *Receiver) sendProbe(ctx context.Context) {
	if r.runningProbes.Load() >= maxRunning {
		return
	}
	select {
	case r.probeSlots <- struct{}{}:
	default:
		return
	}
	var q probeRequest
	r.mu.Lock()
	if r.sub != nil {
		q.subscription = r.sub.number
	}
	now := time.Now() // before the probe can be on its way
	minID := r.minID()
	q.number = r.probes.add(now, r.opts.MaxStaleness, minID)
	q.newestFloor, q.opening = r.newestFloor, openingMessage(max(minID, r.seq.applied), r.knownFloor())
	r.mu.Unlock()
	free := sync.OnceFunc(func() { <-r.probeSlots })
	// go-redis may not return: it ignores the context once it has sent a command. The probe is
	// worth nothing then.
	stop := startTimer(r.opts.MaxStaleness, func() {
		free()
		if ctx.Err() == nil {
			r.onProbeReply(q, probeReply{}, errUnanswered)
		}
	})
	r.runningProbes.Add(1)
	r.goroutines.Go(func() {
		defer r.runningProbes.Add(-1)
		var reply probeReply
		err := callGuarded(r.opts.Panics, func() (err error) {
			reply, err = r.runProbe(ctx, q)
			return err
		})
		stop()
		free()
		if ctx.Err() == nil {
			r.onProbeReply(q, reply, err)
		}
		if err == nil {
			_ = callGuarded(r.opts.Panics, func() error { r.checkNode(ctx); return nil }) // the next probe checks again
		}
	})
}

// add records a probe. It forgets the probes whose echoes would come too late to extend trust.
func (e *probes) add(now time.Time, worth time.Duration, minID lane.ID) (number uint64) {
	e.open = slices.DeleteFunc(e.open, func(q probe) bool { return now.Sub(q.sentAt) >= worth })
	e.newest++
	e.open = append(e.open, probe{number: e.newest, sentAt: now, minID: minID})
	return e.newest
}

// take returns the open probe with this number and forgets it.
func (e *probes) take(number uint64) (q probe, ok bool) {
	i := slices.IndexFunc(e.open, func(q probe) bool { return q.number == number })
	if i < 0 {
		return probe{}, false
	}
	q = e.open[i]
	e.open = slices.Delete(e.open, i, i+1)
	return q, true
}

// openingMessage returns the message with which a lane begins, or its new history after a loss. It
// invalidates nothing. It holds the newest id and the newest floor of all caches that this instance
// knows.
func openingMessage(newest, floor lane.ID) []byte {
	m := Message{Type: TypeKeys, Previous: uint64(newest), ID: uint64(floor)}
	b, _ := m.Append(nil) // it is small enough
	return b
}

// runProbe runs the script of a probe.
func (r *Receiver) runProbe(parent context.Context, q probeRequest) (probeReply, error) {
	ctx, cancel := context.WithTimeout(parent, r.opts.MaxStaleness) // a later reply is worth nothing
	defer cancel()
	if err := r.servers.Ensure(ctx); err != nil {
		return probeReply{}, clientError(err)
	}
	sharded := "0"
	if r.servers.Many() {
		sharded = "1"
	}
	asked := time.Now()
	reply, err := runScript(ctx, r.rdb, scriptProbe, []string{r.names.Count, r.names.Stream, r.names.Floors},
		r.opts.Lanes, r.names.Echo(r.opts.Instance), probeNonce(q.subscription, q.number), q.newestFloor, sharded,
		r.names.Channel, q.opening)
	r.servers.Heard(err)
	if err != nil {
		return probeReply{}, err
	}
	r.servers.Proved(asked) // the script writes
	return parseProbeReply(reply)
}

func parseProbeReply(reply []any) (probeReply, error) {
	head, err := stringList(reply[:min(len(reply), 3)], 1)
	if err != nil {
		return probeReply{}, err
	}
	a := probeReply{lanes: head[0]}
	if len(reply) == 1 {
		return a, nil // the server has another number of lanes
	}
	if len(head) < 3 {
		return probeReply{}, errors.New("invalidation: the reply to a probe is cut short")
	}
	a.newestFloor = head[2]
	if a.newest, err = lane.Parse(head[1]); err != nil || len(reply) == 3 || reply[3] == nil {
		return a, err
	}
	if a.floors, a.unreadable, err = lane.ParseFloors(reply[3]); err != nil {
		return probeReply{}, err
	}
	return a, nil
}

func probeNonce(subscription, number uint64) string {
	return strconv.FormatUint(subscription, 16) + "-" + strconv.FormatUint(number, 16)
}

// maxEcho is more than the bytes of an echo: two numbers in hex, and two ids.
const maxEcho = 128

// splitWords splits a text of at most size bytes into n words. Anybody may publish on a channel; a
// text that is longer or has more words is rejected without being parsed.
func splitWords(text string, n, size int) ([]string, bool) {
	if len(text) > size {
		return nil, false
	}
	f := strings.SplitN(text, " ", n+1)
	return f, len(f) == n
}

// parseEcho parses the message that the script publishes.
func parseEcho(payload string) (echo, error) {
	f, ok := splitWords(payload, 3, maxEcho)
	if !ok {
		return echo{}, fmt.Errorf("%w: %d bytes are no echo", ErrMalformed, len(payload))
	}
	left, right, _ := strings.Cut(f[0], "-")
	subscription, err1 := strconv.ParseUint(left, 16, 64)
	number, err2 := strconv.ParseUint(right, 16, 64)
	newest, err3 := lane.Parse(f[1])
	if err := errors.Join(err1, err2, err3); err != nil {
		return echo{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return echo{subscription: subscription, number: number, newest: newest, newestFloor: f[2]}, nil
}

// onProbeReply handles the reply to a probe, whether or not its subscription has ended meanwhile.
func (r *Receiver) onProbeReply(q probeRequest, a probeReply, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.probes.lastErr = err
	r.onResultLocked(err)
	if err != nil {
		r.opts.Logger.Debug("doppio: probe failed", "lane", r.opts.Lane, "error", err)
		return
	}
	if a.lanes != strconv.Itoa(r.opts.Lanes) {
		r.probes.lastErr = fmt.Errorf("%w: it has %s, this instance %d", ErrLaneCount, a.lanes, r.opts.Lanes)
		if r.sub != nil && r.sub.number == q.subscription {
			_ = r.endLocked(r.sub, r.probes.lastErr) // it returns an earlier reason if there is one
		}
		return
	}
	if q.number <= r.probes.reported {
		return // a newer probe was faster, or the lane was lost since
	}
	r.probes.reported = q.number
	if a.floors != nil {
		if a.unreadable > 0 && r.newestFloor != a.newestFloor { // once for each change of the floors, not with every probe
			r.opts.Logger.Warn("doppio: floors that are not ids are left out", "lane", r.opts.Lane, "count", a.unreadable)
		}
		r.newestFloor = a.newestFloor
	}
	r.reportFloors(a.newest, a.floors)
	if t := r.deferred; t != nil && a.floors != nil {
		if newest, err := lane.Parse(a.newestFloor); err == nil && t.floor <= newest {
			r.deferred = nil
			r.extendTrust(t.sentAt)
		}
	}
}

// onEcho handles an echo: every message that was published on its server before it has arrived,
// too. It reports whether messages must be replayed.
func (r *Receiver) onEcho(s *subscription, payload string) (behind bool) {
	e, err := parseEcho(payload)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.opts.Logger.Debug("doppio: unreadable echo", "lane", r.opts.Lane, "error", err)
		return false
	}
	if s.endedBy != nil || e.subscription != s.number {
		return false
	}
	q, ok := r.probes.take(e.number)
	if !ok {
		return false // it is too late to extend trust, or a repetition
	}
	if q.sentAt.After(s.probedAt) {
		s.probedAt = q.sentAt
	}
	if s.firstProbe == 0 || e.number < s.firstProbe {
		return false // a replay may know more than this echo does
	}
	if why := r.seq.onEcho(e.newest, q.minID); why != 0 {
		behind = r.onBrokenSequence(s, why)
		r.publishApplied()
		return behind
	}
	floor, err := lane.Parse(e.newestFloor)
	switch {
	case err != nil:
		r.opts.Logger.Debug("doppio: unreadable floor", "lane", r.opts.Lane, "error", err)
	case e.newestFloor != r.newestFloor:
		r.deferred = &deferredTrust{sentAt: q.sentAt, floor: floor} // the reply to this probe brings the floors
	default:
		r.reportFloors(e.newest, nil)
		r.extendTrust(q.sentAt)
	}
	return false
}

// extendTrust reports that every message published before sentAt has been handled. r.mu is held.
func (r *Receiver) extendTrust(sentAt time.Time) {
	if sentAt.After(r.trustedAt) {
		r.trustedAt = sentAt
		r.opts.Handler.OnTrust(r.opts.Lane, sentAt)
	}
	r.setState(StateLive, "in step", nil)
}
