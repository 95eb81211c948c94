package invalidation

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/topology"
)

var (
	errSilent         = errors.New("no echo over the subscription: the connection is half-open, or the server stopped or may not write")
	errResubscribed   = errors.New("the connection was replaced")
	errUnsubscribed   = errors.New("unsubscribed by the server")
	errMoved          = errors.New("the lane's slot moved to another node")
	errTooManyListens = errors.New("earlier subscriptions wait for connections that do not answer")
)

// minSetup is the least time that a subscription gets to be made, and a page to be fetched, however
// short MaxStaleness is.
const minSetup = time.Second

// subscription is one subscription. Its fields, except number and cancel, are guarded by the
// receiver's mu.
type subscription struct {
	number uint64 // part of each probe's nonce; an echo of an earlier subscription has another one
	cancel context.CancelFunc

	// node is the node of a Cluster without sharded pub/sub to which the subscription is connected;
	// else it is empty.
	node      string
	endedBy   error    // set when OnLost was called; nothing that arrives after that is reported
	confirmed []string // channels
	// probedAt is when the newest probe whose echo came back was sent. Before the first echo it is
	// when the subscription was confirmed, and before that when it was begun.
	probedAt   time.Time
	firstProbe uint64 // the number of the first probe whose echo is compared with the sequence; 0 during a replay
}

// ready reports whether messages arrive.
func (s *subscription) ready() bool { return len(s.confirmed) == channels }

// channels is the number of channels of a subscription: the lane's and the one for echoes.
const channels = 2

// runSubscription makes a subscription and returns when it has ended. It does not wait for go-redis
// then: if the client has no ReadTimeout, a call that hangs ends only with its connection.
func (r *Receiver) runSubscription(parent context.Context) error {
	if r.runningListens.Load() >= maxRunning {
		return errTooManyListens
	}
	ctx, cancel := context.WithCancel(parent)
	s := &subscription{number: rand.Uint64(), cancel: cancel, probedAt: time.Now()}
	r.mu.Lock()
	r.sub = s
	r.seq.startSync()
	r.mu.Unlock()

	var ps *redis.PubSub
	if err := callGuarded(r.opts.Panics, func() error { ps = r.rdb.Subscribe(ctx); return nil }); err != nil { // it does not dial yet
		cancel()
		return r.end(s, err)
	}
	r.goroutines.Go(func() {
		<-ctx.Done()
		_ = callGuarded(r.opts.Panics, ps.Close) // it interrupts Receive; its error can only be that it was closed before
	})
	ended := make(chan error, 1)
	r.runningListens.Add(1)
	r.goroutines.Go(func() {
		defer r.runningListens.Add(-1)
		ended <- callGuarded(r.opts.Panics, func() error { return r.listen(ctx, ps, s) })
	})
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		// go-redis may not return from a command that it has sent. Nothing that listen still
		// receives is reported.
	}
	if parent.Err() == nil {
		err = r.end(s, err)
	}
	cancel()
	return err
}

// listen subscribes and handles what arrives until the subscription fails.
func (r *Receiver) listen(ctx context.Context, ps *redis.PubSub, s *subscription) error {
	echoes := r.names.Echo(r.opts.Instance)
	// A master that was made a replica sends no echo back, which ends the subscription. It may be
	// made a master again.
	var replica *topology.NotMasterError
	if err := r.servers.Ensure(ctx); err != nil && (!errors.As(err, &replica) || replica.Never) {
		return clientError(err)
	}
	subscribe := ps.Subscribe
	sharded, err := r.servers.Sharded(ctx, r.names.Stream)
	if err != nil {
		return err
	}
	if sharded {
		subscribe = ps.SSubscribe
	} else if err := r.noteNode(ctx, s); err != nil {
		return err
	}
	if err := subscribe(ctx, r.names.Channel, echoes); err != nil {
		return err
	}
	for {
		got, err := ps.Receive(ctx)
		if err != nil {
			return err
		}
		behind := false
		switch m := got.(type) {
		case *redis.Subscription:
			if behind, err = r.confirm(s, m); err != nil {
				return err
			}
		case *redis.Message:
			switch {
			case m.Channel != echoes:
				behind = r.onPublished(s, m.Payload)
			case strings.HasPrefix(m.Payload, queryMark):
				r.replyTo(ctx, m.Payload, sharded)
			default:
				behind = r.onEcho(s, m.Payload)
			}
		}
		if behind {
			// In a goroutine of its own: a command that hangs does not delay the next subscription.
			r.goroutines.Go(func() { r.replay(ctx, s) })
		}
	}
}

// confirm handles the server's confirmation of a channel, and reports whether it was the last one.
func (r *Receiver) confirm(s *subscription, m *redis.Subscription) (ready bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case strings.HasSuffix(m.Kind, "unsubscribe"):
		return false, errUnsubscribed
	case s.endedBy != nil:
		return false, s.endedBy
	case slices.Contains(s.confirmed, m.Channel):
		// A second confirmation is the only sign that go-redis has connected again by itself. The
		// messages that were published in between are lost.
		return false, errResubscribed
	}
	s.confirmed = append(s.confirmed, m.Channel)
	if !s.ready() {
		return false, nil
	}
	s.probedAt = time.Now()
	r.setState(StateSyncing, "subscribed", nil)
	return true, nil
}

// onPublished handles a message of the lane's channel. It reports whether messages must be
// replayed.
func (r *Receiver) onPublished(s *subscription, payload string) (behind bool) {
	var room [128]byte // for a message of a few keys without an allocation
	m, malformed := decode(append(room[:0], payload...))
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.endedBy != nil {
		return false
	}
	if malformed == nil {
		r.deliver(m)
	} else {
		r.opts.Logger.Debug("doppio: unreadable invalidation", "lane", r.opts.Lane, "error", malformed)
		r.dropAll(DropUnreadable)
	}
	if m.ID == 0 {
		return false // it is outside the lane, or its id is unreadable: then the next message shows a gap
	}
	if why := r.seq.onMessage(lane.ID(m.Previous), lane.ID(m.ID), r.minID()); why != 0 {
		behind = r.onBrokenSequence(s, why)
	}
	r.publishApplied()
	return behind
}

// deliver passes a message to the Handler, unless it is the opening message of a lane, which
// invalidates nothing.
func (r *Receiver) deliver(m Message) {
	if m.Type != TypeKeys || len(m.Hashes) > 0 {
		r.opts.Handler.OnMessage(r.opts.Lane, m)
	}
}

// end reports that the subscription is lost, unless that was reported before, and returns the
// reason that was reported. It does not wait for the goroutine that receives: go-redis dials again
// before it reports that a connection broke.
func (r *Receiver) end(s *subscription, err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.endLocked(s, err)
}

func (r *Receiver) endLocked(s *subscription, err error) error {
	if s.endedBy != nil {
		return s.endedBy
	}
	s.endedBy = err
	s.cancel()
	r.sub, r.deferred = nil, nil
	r.opts.Handler.OnLost(r.opts.Lane, err)
	if r.State() != StateInit {
		r.setState(StateSuspect, "lost", err)
	}
	return err
}

// noteNode records the node to which a subscription without sharded pub/sub is connected. No server
// ends such a subscription when the lane's slot moves. The messages of the lane's new node then
// come over the bus between the nodes, which loses messages without an error, and they do not come
// at all once the old node has left the Cluster.
func (r *Receiver) noteNode(ctx context.Context, s *subscription) error {
	if !r.servers.Many() {
		return nil
	}
	node, err := r.servers.Node(ctx, r.names.Stream)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s.node = node
	return nil
}

// checkNode ends a subscription that is connected to another node than the lane's. The probe before
// it went to the lane's node, so the client knows by now where the lane is.
func (r *Receiver) checkNode(ctx context.Context) {
	r.mu.Lock()
	s := r.sub
	if s == nil || s.node == "" {
		r.mu.Unlock()
		return
	}
	before := s.node
	r.mu.Unlock()
	if node, err := r.servers.Node(ctx, r.names.Stream); err == nil && node != before {
		_ = r.end(s, errMoved) // it returns an earlier reason if there is one
	}
}
