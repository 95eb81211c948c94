package remote

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Whatever the clock of the machine that stores a record, the server dates it, and every machine
// agrees on its life.
func TestServerTime_decidesHowLongRecordsLive(t *testing.T) {
	rdb := shared.Client(t)
	fresh(t, rdb)
	s := newStore(t, rdb, func(o *Options) { o.Lanes = 1 })
	ctx := t.Context()
	for _, skew := range []time.Duration{-24 * time.Hour, -6 * time.Second, 6 * time.Second, 24 * time.Hour} {
		for _, grace := range []time.Duration{0, time.Hour} {
			t.Run(fmt.Sprintf("skew %v, grace %v", skew, grace), func(t *testing.T) {
				record := func() *Record {
					r := value("5")
					r.Number, r.TTL, r.Grace, r.Created = true, 5*time.Second, grace, time.Now().Add(skew)
					return r
				}
				for how, store := range map[string]func(key string) error{
					"Set": func(key string) error { return s.Set(ctx, key, record(), nil) },
					"SetMany of one": func(key string) error {
						return s.SetMany(ctx, []Write{{Key: key, Record: record()}})[0]
					},
					"SetMany": func(key string) error { // with one announcement, in one step
						a := news("set")
						return errors.Join(s.SetMany(ctx, []Write{
							{Key: key, Record: record(), Announcement: a},
							{Key: key + "2", Record: record(), Announcement: a},
						})...)
					},
					"SetIfAbsent": func(key string) error { _, _, err := s.SetIfAbsent(ctx, key, record(), 0, nil); return err },
					"Increment":   func(key string) error { _, err := increment(ctx, s, key, 5, nil, record(), 0, nil); return err },
					"Fill": func(key string) error {
						token := NewToken()
						if _, _, err := s.Acquire(ctx, LeaseRequest{Key: key, Token: token}, time.Minute); err != nil {
							return err
						}
						_, err := s.Fill(ctx, key, token[:], record())
						return err
					},
					"Expire": func(key string) error {
						r := record()
						r.TTL = time.Hour
						if err := s.Set(ctx, key, r, nil); err != nil {
							return err
						}
						long := string(binary.BigEndian.AppendUint64(nil, uint64(time.Now().Add(-24*time.Hour).UnixMilli())))
						if err := rdb.SetRange(ctx, key, 25, long).Err(); err != nil { // it was stored long ago
							return err
						}
						_, err := setTTL(ctx, s, key, 5*time.Second, 0, nil)
						return err
					},
				} {
					key := t.Name() + how
					must(t, store(key))
					got, err := s.Get(ctx, key)
					must(t, err)
					left, forever := got.Remaining(time.Now())
					kept := rdb.PTTL(ctx, key).Val() - grace
					if got.Expired(time.Now()) || forever || left <= 0 || left > kept+time.Second || left < kept-2*time.Second {
						t.Errorf("%s: a reader finds %v left, expired: %t, where Redis has %v", how, left, got.Expired(time.Now()), kept)
					}
					if stored, _, err := s.SetIfAbsent(ctx, key, record(), 0, nil); stored || err != nil {
						t.Errorf("%s: SetIfAbsent = %t, %v, though the entry is there", how, stored, err)
					}
					if there, err := exists(ctx, s, key, 0); !there || err != nil {
						t.Errorf("%s: Exists = %t, %v", how, there, err)
					}
					if n, err := increment(ctx, s, key, 1, nil, record(), 0, nil); n != 6 || err != nil {
						t.Errorf("%s: Increment = %d, %v, want 6", how, n, err)
					}
					if left, _, err := ttlOf(ctx, s, key, 0); err != nil || left > 5*time.Second {
						t.Errorf("%s: TTL = %v, %v", how, left, err)
					}
					// When no more than the grace is left, it is over for everybody.
					if grace == 0 {
						continue
					}
					must(t, rdb.PExpire(ctx, key, grace).Err())
					if there, err := s.Delete(ctx, key, 0, nil); there || err != nil {
						t.Errorf("%s: Delete in its grace = %t, %v", how, there, err)
					}
				}
			})
		}
	}
}

// A reader whose clock differs from the server's judges a record with a grace by the server's.
func TestServerTime_decidesWhetherARecordHasALifeLeft(t *testing.T) {
	for _, ahead := range []time.Duration{-time.Hour, time.Hour} { // the server's clock, of the reader's
		for _, age := range []time.Duration{time.Minute, 3 * time.Minute} {
			t.Run(fmt.Sprintf("the server is ahead by %v, the record is of %v ago", ahead, age), func(t *testing.T) {
				_, rdb := onShared(t)
				skewed := redis.NewClient(rdb.Options())
				t.Cleanup(func() { _ = skewed.Close() })
				skewed.AddHook(&timeAhead{by: ahead})
				s := newStore(t, skewed)
				r := value("v")
				r.TTL, r.Grace = 2*time.Minute, 24*time.Hour
				must(t, s.Set(t.Context(), t.Name(), r, nil))
				date := binary.BigEndian.AppendUint64(nil, uint64(time.Now().Add(ahead-age).UnixMilli()))
				must(t, rdb.SetRange(t.Context(), t.Name(), 25, string(date)).Err())
				got, err := s.Get(t.Context(), t.Name())
				must(t, err)
				left, _ := got.Remaining(time.Now())
				if over := age > r.TTL; got.Expired(time.Now()) != over || (left > 0) == over || left > r.TTL-age+time.Second {
					t.Errorf("the reader finds %v left, expired: %t; by the server's clock it has lived %v of %v",
						left, got.Expired(time.Now()), age, r.TTL)
				}
			})
		}
	}
}

// timeAhead answers TIME as a server does whose clock is ahead of its machine's.
type timeAhead struct{ by time.Duration }

func (h *timeAhead) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *timeAhead) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if c, ok := cmd.(*redis.TimeCmd); ok {
			c.SetVal(c.Val().Add(h.by))
		}
		return err
	}
}

func (h *timeAhead) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// timeless answers no TIME while it is told so, and counts those that it was asked for.
type timeless struct {
	asked  atomic.Int64
	silent atomic.Bool
}

func (h *timeless) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *timeless) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() != "time" {
			return next(ctx, cmd)
		}
		h.asked.Add(1)
		if h.silent.Load() {
			cmd.SetErr(errors.New("no time for you"))
			return cmd.Err()
		}
		return next(ctx, cmd)
	}
}

func (h *timeless) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// The server's time is asked for once in a while, not with each read, and a read of a record that
// cannot be judged without it says so.
func TestServerTime_isAskedForNowAndThen(t *testing.T) {
	_, rdb := onShared(t)
	hook := &timeless{}
	watched := redis.NewClient(rdb.Options())
	t.Cleanup(func() { _ = watched.Close() })
	watched.AddHook(hook)
	s, err := New(watched, Options{})
	must(t, err)
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	plain, graced := value("plain"), value("graced")
	graced.Grace = time.Hour
	must(t, s.Set(t.Context(), t.Name()+"plain", plain, nil))
	must(t, s.Set(t.Context(), t.Name()+"graced", graced, nil))
	hook.silent.Store(true)
	r, err := s.Get(t.Context(), t.Name()+"plain")
	if err != nil || r.Expired(time.Now()) {
		t.Errorf("without a grace: %v, expired: %t: it is there as long as Redis returns it", err, r.Expired(time.Now()))
	}
	if _, err := s.Get(t.Context(), t.Name()+"graced"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("with a grace, and no time to judge by: %v", err)
	}
	hook.silent.Store(false)
	before := hook.asked.Load()
	for range 100 {
		_, err = s.Get(t.Context(), t.Name()+"graced")
		must(t, err)
	}
	if n := hook.asked.Load() - before; n < 1 || n > 10 { // a slow machine may take longer than serverTimeFresh
		t.Errorf("the time was asked for %d times in 100 reads", n)
	}
}
