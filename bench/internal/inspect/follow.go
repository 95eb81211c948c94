package inspect

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/topology"
	"github.com/doppio-cache/doppio/invalidation"
)

const (
	heartbeat  = 2 * time.Second // without a message, Redis is asked for a sign of life; after twice this the subscription is lost
	retryPause = 300 * time.Millisecond
	pageSize   = 1000
)

var (
	errSilent       = errors.New("the server does not answer over the subscription")
	errUnsubscribed = errors.New("the server ended the subscription: the lane moved to another node")
	errReconnected  = errors.New("the connection broke and was made again")
)

// follower follows one lane.
type follower struct {
	rdb     redis.UniversalClient
	servers *topology.Topology
	opts    TailOptions
	index   int
	names   lane.Names
	skew    time.Duration
	events  chan<- Event
	began   bool    // a subscription was confirmed once
	last    lane.ID // the newest that was seen; 0: none yet
	overlap lane.ID // up to here messages that come were replayed before
}

func newFollower(rdb redis.UniversalClient, servers *topology.Topology, o TailOptions, index int, skew time.Duration, events chan<- Event) *follower {
	return &follower{
		rdb: rdb, servers: servers, opts: o, index: index, skew: skew, events: events,
		names: lane.Of(o.Namespace, index).In(servers.Database()),
	}
}

// run follows until ctx ends. Only a subscription that never came about is an error: one that was lost is made again.
func (f *follower) run(ctx context.Context) error {
	for {
		err := f.subscription(ctx)
		switch {
		case over(ctx):
			return nil
		case !f.began:
			return err
		}
		f.send(ctx, Event{At: time.Now(), What: Lost, Why: err.Error()})
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			return nil
		}
	}
}

// over tells whether the end was asked for, which is no error.
func over(ctx context.Context) bool { return ctx.Err() != nil }

// subscription lives through one subscription.
func (f *follower) subscription(parent context.Context) error {
	ctx, cancel := context.WithCancel(parent)
	ps := f.rdb.Subscribe(ctx) // does not dial yet
	var closing sync.WaitGroup
	closing.Go(func() {
		<-ctx.Done() // Receive heeds deadlines only
		_ = ps.Close()
	})
	defer closing.Wait()
	defer cancel()
	subscribe := ps.Subscribe
	// Asked for each subscription, as instances do: a server may be replaced by one of another version.
	sharded, err := f.servers.Sharded(ctx, f.names.Stream)
	if err != nil {
		return err
	}
	if sharded {
		subscribe = ps.SSubscribe
	}
	if err := subscribe(ctx, f.names.Channel); err != nil {
		return err
	}
	confirmed, asked := false, false
	for {
		got, err := ps.ReceiveTimeout(ctx, heartbeat)
		if err != nil {
			var slow interface{ Timeout() bool }
			if !errors.As(err, &slow) || !slow.Timeout() {
				return err
			}
			if asked {
				return errSilent
			}
			asked = true
			if err := ps.Ping(ctx); err != nil {
				return err
			}
			continue
		}
		asked = false
		switch m := got.(type) {
		case *redis.Subscription:
			switch {
			case strings.HasSuffix(m.Kind, "unsubscribe"):
				return errUnsubscribed
			case confirmed:
				return errReconnected
			}
			confirmed = true
			if err := f.confirmed(ctx); err != nil {
				return err
			}
		case *redis.Message:
			f.message(ctx, []byte(m.Payload))
		}
	}
}

// confirmed replays what was asked for, once; messages that come meanwhile wait in the connection.
func (f *follower) confirmed(ctx context.Context) error {
	first := !f.began
	f.began = true
	f.send(ctx, Event{At: time.Now(), What: Subscribed, Why: f.names.Channel})
	from := f.opts.start(f.skew)
	if !first || from == "" {
		return nil
	}
	for {
		page, err := f.rdb.XRangeN(ctx, f.names.Stream, from, "+", pageSize).Result()
		if err != nil {
			return err
		}
		for _, x := range page {
			id, err := lane.Parse(x.ID)
			if err != nil {
				return err
			}
			text, _ := x.Values["m"].(string)
			m, err := fromStream([]byte(text), f.last, id)
			f.last = id
			if err != nil {
				f.send(ctx, Event{At: time.Now(), What: Unreadable, ID: x.ID, Why: err.Error(), Replayed: true})
				continue
			}
			f.show(ctx, m, true)
		}
		if len(page) < pageSize || over(ctx) {
			f.overlap = f.last
			return nil
		}
		from = "(" + page[len(page)-1].ID
	}
}

// message takes what came over the lane's channel.
func (f *follower) message(ctx context.Context, data []byte) {
	m, err := invalidation.Parse(data)
	previous, id := place(data)
	if id != 0 {
		if id <= f.overlap {
			return // it was replayed
		}
		f.overlap = 0 // an id that is lower again is that of a lane that began anew
		if f.last != 0 && previous != f.last {
			f.send(ctx, f.gap(ctx, previous))
		}
		f.last = id
	}
	if err != nil {
		f.send(ctx, Event{At: time.Now(), What: Unreadable, Why: err.Error()})
		return
	}
	f.show(ctx, m, false)
}

// gap describes what did not come.
func (f *follower) gap(ctx context.Context, previous lane.ID) Event {
	e := Event{At: time.Now(), What: Gap, Seen: f.last.String(), Previous: previous.String()}
	if previous < f.last {
		e.Why = "the lane began anew"
		return e
	}
	if missed, err := f.rdb.XRangeN(ctx, f.names.Stream, "("+f.last.String(), previous.String(), maxMissed).Result(); err == nil {
		n := int64(len(missed))
		e.Missed = &n
	}
	return e
}

// show tells of a message if it is one that was asked for.
func (f *follower) show(ctx context.Context, m invalidation.Message, replayed bool) {
	if f.opts.concerns(m) {
		f.send(ctx, messageEvent(f.index, m, time.Now(), f.skew, replayed))
	}
}

func (f *follower) send(ctx context.Context, e Event) {
	e.Lane = f.index
	select {
	case f.events <- e:
	case <-ctx.Done():
	}
}
