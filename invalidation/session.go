package invalidation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/topology"
)

var (
	errSilent       = errors.New("no echo over the subscription: the connection is half-open, or the server stopped or may not write")
	errResubscribed = errors.New("the connection was replaced")
	errUnsubscribed = errors.New("unsubscribed by the server")
	errMoved        = errors.New("the lane's slot moved to another node")
	errListening    = errors.New("earlier subscriptions wait for connections that do not answer")
)

// minSetup is what the making of a subscription may take, however soon it is given up for silence later.
const minSetup = time.Second

// minSilence is how long echoes must go unanswered before the server is skipped, however short MaxStaleness is: a busy
// machine leaves one unanswered for less.
const minSilence = time.Second

// session is one subscription. Its fields, but for the first two, are guarded by the receiver's mu.
type session struct {
	number uint64 // in each echo's nonce, so that a late one of an earlier subscription is told apart
	cancel context.CancelFunc

	node      string    // where it is, where no server ends it when the lane's slot moves; else empty
	lost      error     // set when the handler was told Lost; nothing that comes over the subscription is told after that
	confirmed []string  // channels
	heard     time.Time // when the last echo that came back had been sent; before that, when the subscription was asked for, then confirmed
	counts    uint64    // the number of the first echo that judges the chain; 0: the chain is syncing
}

// ready tells whether messages arrive.
func (s *session) ready() bool { return len(s.confirmed) == channels }

// channels of a subscription: the lane's, and that of the echoes.
const channels = 2

// subscription lives through one subscription, from its making to its end. It returns when the subscription has ended,
// whatever go-redis does: where the client has no ReadTimeout, a call that hangs ends with its connection only.
func (r *Receiver) subscription(parent context.Context) error {
	if r.listening.Load() >= maxHanging {
		return errListening
	}
	ctx, cancel := context.WithCancel(parent)
	s := &session{number: rand.Uint64(), cancel: cancel, heard: time.Now()}
	r.mu.Lock()
	r.session = s
	r.chain.sync()
	r.mu.Unlock()

	var ps *redis.PubSub
	if err := guarded(r.opts.Panics, func() error { ps = r.rdb.Subscribe(ctx); return nil }); err != nil { // it does not dial yet
		cancel()
		return r.end(s, err)
	}
	r.done.Go(func() {
		<-ctx.Done()
		_ = guarded(r.opts.Panics, ps.Close) // it interrupts Receive, and could only report that it was closed before
	})
	ended := make(chan error, 1)
	r.listening.Add(1)
	r.done.Go(func() {
		defer r.listening.Add(-1)
		ended <- guarded(r.opts.Panics, func() error { return r.listen(ctx, ps, s) })
	})
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		// go-redis may not return from a command that it has sent. What listen still hears is not told.
	}
	if parent.Err() == nil {
		err = r.end(s, err)
	}
	cancel()
	return err
}

// listen subscribes, and tells what arrives until it fails.
func (r *Receiver) listen(ctx context.Context, ps *redis.PubSub, s *session) error {
	echo := r.names.Echo(r.opts.Instance)
	// A master that was made a replica brings no echo back, which ends the subscription; it may be made a master again.
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
	} else if err := r.stayAt(ctx, s); err != nil {
		return err
	}
	if err := subscribe(ctx, r.names.Channel, echo); err != nil {
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
			case m.Channel != echo:
				behind = r.message(s, m.Payload)
			case strings.HasPrefix(m.Payload, queryMark):
				r.replyTo(ctx, m.Payload, sharded)
			default:
				behind = r.echoed(s, m.Payload)
			}
		}
		if behind {
			// A command that hangs does not keep the next subscription waiting.
			r.done.Go(func() { r.catchUp(ctx, s) })
		}
	}
}

// confirm takes the server's word that a channel is subscribed to, and tells whether it was the last.
func (r *Receiver) confirm(s *session, m *redis.Subscription) (ready bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case strings.HasSuffix(m.Kind, "unsubscribe"):
		return false, errUnsubscribed
	case s.lost != nil:
		return false, s.lost
	}
	for _, c := range s.confirmed {
		if c == m.Channel {
			// go-redis connected again by itself, and reports it only so. What was published in between is lost.
			return false, errResubscribed
		}
	}
	s.confirmed = append(s.confirmed, m.Channel)
	if !s.ready() {
		return false, nil
	}
	s.heard = time.Now()
	r.move(StateSyncing, "subscribed", nil)
	return true, nil
}

// message takes what came over the lane's channel, and tells whether there is something to catch up with.
func (r *Receiver) message(s *session, payload string) (behind bool) {
	var room [128]byte // for a message of a few keys without an allocation
	data := append(room[:0], payload...)
	m, malformed := Parse(data)
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.lost != nil {
		return false
	}
	previous, id, err := places(data)
	if malformed == nil {
		r.handOn(m)
	} else {
		r.opts.Logger.Debug("doppio: unreadable invalidation", "lane", r.opts.Lane, "error", malformed)
		r.drop(DropUnreadable)
	}
	if err != nil || id == 0 {
		return false // outside the lane, or who knows where: then the next message shows a gap
	}
	if why := r.chain.message(previous, id, r.known()); why != 0 {
		behind = r.broken(s, why)
	}
	r.advanced()
	return behind
}

// handOn gives the handler a message, unless it says nothing: the opening of a lane.
func (r *Receiver) handOn(m Message) {
	if m.Type != TypeKeys || len(m.Hashes) > 0 {
		r.opts.Handler.OnMessage(r.opts.Lane, m)
	}
}

// end tells the handler that the subscription is lost, once, and gives the reason that it was told. The receiver need
// not wait for the goroutine that receives: that one may be held up in go-redis, which dials again before it reports that
// a connection broke.
func (r *Receiver) end(s *session, err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.endLocked(s, err)
}

func (r *Receiver) endLocked(s *session, err error) error {
	if s.lost != nil {
		return s.lost
	}
	s.lost = err
	s.cancel()
	r.session, r.awaiting = nil, nil
	r.opts.Handler.OnLost(r.opts.Lane, err)
	if r.State() != StateInit {
		r.move(StateSuspect, "lost", err)
	}
	return err
}

// stayAt notes at which node of a Cluster without sharded pub/sub a subscription is, which no
// server ends when the lane's slot moves: what is published at the lane's new node still comes, but
// over the bus between the nodes, which loses messages without an error, and not at all once the
// old node has left the Cluster.
func (r *Receiver) stayAt(ctx context.Context, s *session) error {
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

// follow ends a subscription that is at another node than the lane. The echo that went before asked the lane's node, so
// that the client has learned where it is.
func (r *Receiver) follow(ctx context.Context) {
	r.mu.Lock()
	s := r.session
	if s == nil || s.node == "" {
		r.mu.Unlock()
		return
	}
	was := s.node
	r.mu.Unlock()
	if node, err := r.servers.Node(ctx, r.names.Stream); err == nil && node != was {
		_ = r.end(s, errMoved) // it is the reason, unless there was one before
	}
}

// watch gives a subscription up when no echo came back for too long, and tells when to look again.
func (r *Receiver) watch(now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	beat := r.opts.beat()
	if left := max(r.opts.MaxStaleness/2, minSilence) - now.Sub(r.answerAt); left <= 0 {
		r.silenceLocked(errUnanswered)
	} else {
		beat = min(beat, max(left, time.Millisecond))
	}
	s := r.session
	if s == nil {
		return beat
	}
	bound := r.opts.MaxStaleness
	if !s.ready() {
		bound = max(bound, minSetup)
	}
	if left := bound - now.Sub(s.heard); left > 0 {
		return min(left, beat)
	}
	err := errSilent
	if r.echoes.err != nil {
		err = fmt.Errorf("%w: %w", errSilent, r.echoes.err)
	}
	_ = r.endLocked(s, err) // it is the reason, unless there was one before
	return r.opts.beat()
}
