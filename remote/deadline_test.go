package remote

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/doppio-cache/doppio/internal/redistest"
)

// A change that stores a value is held up until its caller has given it up, and another change was
// made since: the late one must not undo that. A removal may come late.
func TestDeadline_changeThatComesTooLateIsNotMade(t *testing.T) {
	t.Parallel()
	const timeout = 2 * time.Second // the command is sent within it
	changes := map[string]struct {
		make func(s *Store) error
		want string // the entry afterwards; "" is none
	}{
		"set": {func(s *Store) error { return s.Set(t.Context(), "held", value("late"), news("late")) }, "newer"},
		"set-many": {func(s *Store) error {
			return errors.Join(s.SetMany(t.Context(), []Write{{Key: "held", Record: value("late"), Announcement: news("late")}})...)
		}, "newer"},
		"expire": {func(s *Store) error {
			_, err := setTTL(t.Context(), s, "held", time.Millisecond, 0, news("late"))
			return err
		}, "newer"},
		"delete": {func(s *Store) error { _, err := s.Delete(t.Context(), "held", 0, news("late")); return err }, ""},
	}
	for name, c := range changes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			p, rdb := proxied(t, server)
			direct := newStore(t, server.Client(t))
			s := newStore(t, rdb, func(o *Options) { o.Timeout = timeout })
			must(t, s.Set(t.Context(), "held", value("old"), news("old"))) // from which it knows the server's time
			if err := c.make(newStore(t, server.Client(t))); err != nil {
				t.Fatal(err) // the server knows the script
			}
			trap := p.HoldNextCommand("held")
			wantErr(t, c.make(s), ErrUnknownOutcome, ErrUnavailable)
			<-trap.Sprung()
			must(t, direct.Set(t.Context(), "held", value("newer"), news("newer")))
			before := scriptsRun(t, server)
			trap.Release()
			redistest.Eventually(t, patience, func() error {
				if scriptsRun(t, server) == before {
					return errors.New("the server has not met the late command yet")
				}
				return nil
			})
			got, err := direct.Get(t.Context(), "held")
			switch {
			case c.want == "" && errors.Is(err, ErrNotFound):
			case err != nil || string(got.Payload) != c.want:
				t.Errorf("the entry is %q, %v, want %q", got.Payload, err, c.want)
			}
		})
	}
}

// scriptsRun tells how many scripts the server was asked to run, as its statistics say.
func scriptsRun(t *testing.T, server *redistest.Server) string {
	t.Helper()
	info, err := server.Client(t).Info(t.Context(), "commandstats").Result()
	must(t, err)
	_, rest, _ := strings.Cut(info, "cmdstat_evalsha:calls=")
	count, _, _ := strings.Cut(rest, ",")
	return count
}

// A store's idea of the servers' time may be wrong, as the clocks of a Cluster's nodes differ:
// that costs a round trip.
func TestDeadline_wrongIdeaOfTheServersTimeCostsARoundTrip(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := newStore(t, server.Client(t))
	for _, wrong := range []time.Duration{-time.Hour, -3 * time.Second, time.Hour} {
		s.clock.set(time.Now().Add(wrong).UnixMilli())
		must(t, s.Set(t.Context(), "k", value("v"), news("v")))
		s.clock.set(time.Now().Add(wrong).UnixMilli())
		must(t, errors.Join(s.SetMany(t.Context(), []Write{
			{Key: "k", Record: value("1"), Announcement: news("1")}, {Key: "l", Record: value("2"), Announcement: news("2")},
		})...))
		s.clock.set(time.Now().Add(wrong).UnixMilli())
		if _, err := increment(t.Context(), s, "n", 1, nil, number(0), 0, news("n")); err != nil {
			t.Error(err)
		}
		if off := time.Until(time.UnixMilli(s.clock.offset.Load()).Add(time.Since(epoch))); wrong < 0 && (off < -time.Minute || off > time.Minute) {
			t.Errorf("the right time was not learned: off by %v", off)
		}
	}
}
