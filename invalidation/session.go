package invalidation

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	errSilent       = errors.New("no answer over the subscription: the connection is half-open or the server stopped")
	errResubscribed = errors.New("the connection was replaced: messages between the two are lost")
	errUnsubscribed = errors.New("unsubscribed by the server")
)

// session is one subscription, as far as the handler has been told of it. Two goroutines tell: the one that receives,
// and the watchdog, which says Lost without waiting for the first; that one may be held up in go-redis, which dials
// again before it reports that a connection broke.
type session struct {
	handler Handler
	max     time.Duration

	mu        sync.Mutex // held while the handler is told
	lost      error      // set when the handler was told Lost; nothing is told after that
	listening bool       // the subscription was confirmed
	heard     time.Time  // when the last PING that was answered had been sent; before that, when the subscription was asked for, then confirmed
	asked     []question // oldest first
	last      uint64     // the newest question's number
}

// question is a PING under way. Its number goes with it and comes back, so that an answer is never taken for that to a later one.
type question struct {
	number uint64
	sent   time.Time
}

// listen subscribes, and tells what arrives until it fails.
func (s *session) listen(ctx context.Context, ps *redis.PubSub, channel string) error {
	sent := time.Now()
	if err := ps.Subscribe(ctx, channel); err != nil {
		return err
	}
	for {
		got, err := ps.Receive(ctx)
		if err != nil {
			return err
		}
		switch m := got.(type) {
		case *redis.Subscription:
			if err := s.confirmed(m.Kind, sent); err != nil {
				return err
			}
		case *redis.Pong:
			s.pong(m.Payload)
		case *redis.Message:
			s.message(m.Payload)
		}
	}
}

func (s *session) confirmed(kind string, sent time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case kind != "subscribe":
		return errUnsubscribed
	case s.listening:
		// go-redis connected again by itself, and reports it only so.
		return errResubscribed
	case s.lost != nil:
		return s.lost
	}
	s.listening = true
	s.heard = time.Now()
	s.handler.Subscribed(sent)
	return nil
}

func (s *session) pong(payload string) {
	number, err := strconv.ParseUint(payload, 10, 64)
	if err != nil {
		return // not one of ours
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.asked, func(q question) bool { return q.number == number })
	if i < 0 || s.lost != nil {
		return
	}
	s.heard = s.asked[i].sent
	s.asked = s.asked[i+1:]
	s.handler.Alive(s.heard)
}

func (s *session) message(payload string) {
	m, err := Parse([]byte(payload))
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.lost != nil:
	case err != nil:
		s.handler.Unreadable(err)
	default:
		s.handler.Invalidated(m)
	}
}

// end tells the handler that the subscription is lost, once, and gives the reason that it was told.
func (s *session) end(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost == nil {
		s.lost = err
		s.handler.Lost(err)
	}
	return s.lost
}

// watch asks for a sign of life every quarter of max, and gives up when none has come for all of it. It returns then,
// or with ctx.
func (s *session) watch(ctx context.Context, cancel context.CancelFunc, pings chan<- string) {
	tick := time.NewTicker(max(s.max/4, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		ask, silent := s.check(time.Now())
		if silent {
			cancel() // interrupts a dial
			_ = s.end(errSilent)
			return
		}
		if ask == "" {
			continue
		}
		select {
		case pings <- ask:
		default: // the one before could not be sent yet
		}
	}
}

func (s *session) check(now time.Time) (ask string, silent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case now.Sub(s.heard) > s.max:
		return "", true
	case !s.listening:
		return "", false
	}
	s.last++
	s.asked = append(s.asked, question{number: s.last, sent: now})
	return strconv.FormatUint(s.last, 10), false
}
