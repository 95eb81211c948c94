package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// server is the far tier's Redis: embedded, or one that the user named.
type server struct {
	url       string
	name      string // to show: no credentials
	namespace string // of this run alone
	embedded  *miniredis.Miniredis
	ended     chan struct{}  // closed to end the clock of an embedded server
	ticking   sync.WaitGroup // its clock
}

const (
	redisTimeout = 5 * time.Second

	// tick is how exactly entries of the embedded server expire. It has a clock of its own (ClockTTL), but that one visits every key
	// at every command, which is most of what a demo would measure.
	tick = 100 * time.Millisecond
)

func openServer(ctx context.Context, url string) (*server, error) {
	s := &server{url: url, namespace: "doppio-demo-" + rand.Text()[:10]}
	if url == "" {
		s.embedded = miniredis.NewMiniRedis()
		if err := s.embedded.Start(); err != nil {
			return nil, fmt.Errorf("demo: embedded redis: %w", err)
		}
		s.name = "embedded"
		s.url = "redis://" + s.embedded.Addr()
		s.ended = make(chan struct{})
		s.ticking.Go(s.keepTime)
		return s, nil
	}
	err := s.with(ctx, func(ctx context.Context, rdb *redis.Client) error {
		s.name = rdb.Options().Addr
		return rdb.Ping(ctx).Err()
	})
	if err != nil {
		return nil, fmt.Errorf("demo: redis: %w", err)
	}
	return s, nil
}

// keepTime lets the entries of the embedded server expire as time goes by.
func (s *server) keepTime() {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	last := time.Now()
	for {
		select {
		case <-ticker.C:
			now := time.Now()
			s.embedded.FastForward(now.Sub(last))
			last = now
		case <-s.ended:
			return
		}
	}
}

func (s *server) with(ctx context.Context, f func(context.Context, *redis.Client) error) error {
	opts, err := redis.ParseURL(s.url)
	if err != nil {
		return err
	}
	rdb := redis.NewClient(opts)
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	return errors.Join(f(ctx, rdb), rdb.Close())
}

// close ends an embedded server, and removes from any other what this run left there.
func (s *server) close() error {
	if s.embedded != nil {
		close(s.ended)
		s.ticking.Wait()
		s.embedded.Close()
		return nil
	}
	err := s.with(context.Background(), func(ctx context.Context, rdb *redis.Client) error {
		keys := rdb.Scan(ctx, 0, "*"+s.namespace+"*", 1000).Iterator()
		for keys.Next(ctx) {
			if err := rdb.Unlink(ctx, keys.Val()).Err(); err != nil {
				return err
			}
		}
		return keys.Err()
	})
	if err != nil {
		return fmt.Errorf("demo: redis: removing the keys of %s: %w", s.namespace, err)
	}
	return nil
}
