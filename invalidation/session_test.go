package invalidation

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"
)

// redisDialer dials until its context ends.
func redisDialer(dialing chan<- struct{}) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		select {
		case dialing <- struct{}{}:
		default:
		}
		<-ctx.Done()
		return nil, ctx.Err()
	}
}

func newSession(t *testing.T) (*session, *recorder) {
	t.Helper()
	rec := &recorder{}
	s := &session{handler: rec, max: time.Second, heard: time.Now()}
	if err := s.confirmed("subscribe", time.Now()); err != nil {
		t.Fatal(err)
	}
	return s, rec
}

// ask is a PING at the time now.
func ask(t *testing.T, s *session, now time.Time) string {
	t.Helper()
	payload, silent := s.check(now)
	if payload == "" || silent {
		t.Fatalf("check: %q, silent %v", payload, silent)
	}
	return payload
}

func TestAnswerIsThatOfItsQuestion(t *testing.T) {
	s, rec := newSession(t)
	begin := time.Now()
	var payloads [3]string
	for i := range payloads {
		payloads[i] = ask(t, s, begin.Add(time.Duration(i)*100*time.Millisecond))
	}
	s.pong(payloads[1]) // the first was lost with its connection
	s.pong(payloads[0]) // late, and older than what is known
	s.pong(payloads[1])
	s.pong("")
	s.pong("hello")
	s.pong("4711")
	s.pong(payloads[2])
	alive := rec.all("alive")
	if len(alive) != 2 || !alive[0].sent.Equal(begin.Add(100*time.Millisecond)) || !alive[1].sent.Equal(begin.Add(200*time.Millisecond)) {
		t.Errorf("alive: %+v", alive)
	}
}

func TestSilenceIsCountedFromTheAnsweredQuestion(t *testing.T) {
	s, _ := newSession(t)
	confirmed := s.heard
	first := ask(t, s, confirmed.Add(500*time.Millisecond))
	ask(t, s, confirmed.Add(900*time.Millisecond))
	s.pong(first)
	if _, silent := s.check(confirmed.Add(1400 * time.Millisecond)); silent {
		t.Error("silent too early")
	}
	if _, silent := s.check(confirmed.Add(1501 * time.Millisecond)); !silent {
		t.Error("not silent")
	}
}

// go-redis connects again by itself where a PING cannot be written: the handler must hear that messages were lost.
func TestSecondConfirmationEndsTheSubscription(t *testing.T) {
	s, rec := newSession(t)
	err := s.confirmed("subscribe", time.Now())
	if !errors.Is(err, errResubscribed) {
		t.Fatalf("error %v", err)
	}
	if n := len(rec.all("subscribed")); n != 1 {
		t.Errorf("subscribed %d times", n)
	}
	if err := s.confirmed("unsubscribe", time.Now()); !errors.Is(err, errUnsubscribed) {
		t.Errorf("error %v", err)
	}
}

func TestNothingIsToldAfterLost(t *testing.T) {
	s, rec := newSession(t)
	payload := ask(t, s, time.Now())
	first, second := errors.New("first"), errors.New("second")
	if err := s.end(first); !errors.Is(err, first) {
		t.Errorf("end: %v", err)
	}
	if err := s.end(second); !errors.Is(err, first) {
		t.Errorf("end again: %v", err)
	}
	s.pong(payload)
	s.message("garbage")
	s.message(string(mustAppend(t, keys(1))))
	s.listening = false
	if err := s.confirmed("subscribe", time.Now()); !errors.Is(err, first) {
		t.Errorf("confirmed: %v", err)
	}
	if len(rec.events) != 2 || rec.events[1].what != "lost" {
		t.Errorf("told: %+v", rec.events)
	}
}
