package invalidation

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/redistest"
)

// holder is a recorder that answers questions.
type holder struct {
	*recorder
	asked   chan CopyQuery
	release chan struct{} // nil: at once
	answer  CopyStatus
}

func (h *holder) InspectCopy(q CopyQuery) CopyStatus {
	h.asked <- q
	if h.release != nil {
		<-h.release
	}
	return h.answer
}

// holds starts a receiver whose handler answers so.
func holds(t *testing.T, rdb redis.UniversalClient, instance uint64, release chan struct{}, answer CopyStatus) *holder {
	t.Helper()
	h := &holder{asked: make(chan CopyQuery, 64), release: release, answer: answer}
	receive(t, rdb, func(o *Options) {
		o.Instance = instance
		h.recorder, _ = o.Handler.(*recorder)
		o.Handler = h
	})
	h.live(t)
	return h
}

func TestFindCopies_asksEveryInstance(t *testing.T) {
	for name, client := range map[string]func(*testing.T) redis.UniversalClient{
		"standalone": func(t *testing.T) redis.UniversalClient { return shared.Client(t) },
		"database 3": func(t *testing.T) redis.UniversalClient {
			return shared.Client(t, func(o *redis.Options) { o.DB = 3 })
		},
		"cluster": func(t *testing.T) redis.UniversalClient { return redistest.StartCluster(t, 3).Client(t) },
		"cluster without shards": func(t *testing.T) redis.UniversalClient {
			return redistest.StartCluster(t, 3, withoutShards).Client(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := client(t)
			q := CopyQuery{Seed: 7, Key: "a key: ü \x00"}
			first := holds(t, rdb, 1, nil, CopyStatus{Present: true, Valid: true, TTL: 1500 * time.Millisecond})
			second := holds(t, rdb, 2, nil, CopyStatus{TTL: -1})
			told, asked, err := FindCopies(t.Context(), rdb, t.Name(), 0, q)
			if err != nil || asked != 2 {
				t.Fatalf("asked %d, %v", asked, err)
			}
			slices.SortFunc(told, func(a, b CopyStatus) int { return int(a.Instance) - int(b.Instance) })
			want := []CopyStatus{
				{Instance: 1, State: StateLive, Present: true, Valid: true, TTL: 1500 * time.Millisecond},
				{Instance: 2, State: StateLive, TTL: -time.Millisecond},
			}
			if want[1].TTL = told[1].TTL; !slices.Equal(told, want) || told[1].TTL > 0 {
				t.Errorf("told %+v, want %+v", told, want)
			}
			for _, h := range []*holder{first, second} {
				if got := <-h.asked; got != q {
					t.Errorf("asked for %+v", got)
				}
				if lost := h.all("lost"); len(lost) > 0 || len(h.reasons()) > 1 {
					t.Errorf("a question cost the subscription something: %v, %v", lost, h.reasons())
				}
			}
		})
	}
}

func TestFindCopies_doesNotHoldMessagesUp(t *testing.T) {
	t.Parallel()
	rdb := shared.Client(t)
	release := make(chan struct{})
	h := holds(t, rdb, 1, release, CopyStatus{})
	names := lane.Of(t.Name(), 0)
	for range 3 * maxRunningReplies {
		if err := rdb.Publish(t.Context(), names.Echo(1), CopyQuery{Key: "k"}.text(9, "n")).Err(); err != nil {
			t.Fatal(err)
		}
	}
	announce(t, rdb, keys(77))
	h.awaitHash(t, 77) // although none of the questions was answered
	if n := len(h.asked); n > maxRunningReplies {
		t.Errorf("%d questions at once", n)
	}
	close(release)
}

func TestFindCopies_countsInstancesThatCannotAnswer(t *testing.T) {
	t.Parallel()
	rdb := shared.Client(t)
	receive(t, rdb).live(t) // its handler does not know questions
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	told, asked, err := FindCopies(ctx, rdb, t.Name(), 0, CopyQuery{Key: "k"})
	if err != nil || asked != 1 || len(told) != 0 {
		t.Errorf("asked %d, told %+v, %v", asked, told, err)
	}
}

func TestFindCopies_mayFindNoInstanceToAsk(t *testing.T) {
	t.Parallel()
	told, asked, err := FindCopies(t.Context(), shared.Client(t), t.Name(), 0, CopyQuery{Key: "k"})
	if err != nil || asked != 0 || len(told) != 0 {
		t.Errorf("asked %d, told %+v, %v", asked, told, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := FindCopies(ctx, shared.Client(t), t.Name(), 0, CopyQuery{Key: "k"}); err == nil {
		t.Error("asked in no time")
	}
}

func FuzzQuestion(f *testing.F) {
	f.Add(CopyQuery{Seed: 1, Key: "k"}.text(2, "n"))
	f.Add(CopyStatus{Instance: 1, Present: true, TTL: time.Second}.text("n"))
	f.Add(queryMark)
	f.Add("?1 x n 1 !")
	f.Add("!1 n 1 256 true true 1")
	f.Add(strings.Repeat("!1 n ", 10_000))
	f.Fuzz(func(t *testing.T, payload string) {
		within(t, len(payload), func() {
			_, _, _, _ = parseQuery(payload) //nolint:dogsled // what it costs counts
			_, _ = parseCopyStatus(payload, "n")
		})
		if asker, nonce, q, err := parseQuery(payload); err == nil && q.Key != "" {
			if a, n, again, err := parseQuery(q.text(asker, nonce)); err != nil || a != asker || n != nonce || again != q {
				t.Errorf("%q: %+v, %v", payload, again, err)
			}
		} else if err != nil && !errors.Is(err, ErrMalformed) {
			t.Error(err)
		}
		if h, err := parseCopyStatus(payload, "n"); err == nil {
			if again, err := parseCopyStatus(h.text("n"), "n"); err != nil || again != h {
				t.Errorf("%q: %+v, %v", payload, again, err)
			}
		} else if !errors.Is(err, ErrMalformed) || strings.HasPrefix(payload, queryMark) && h.Present {
			t.Error(err)
		}
	})
}
