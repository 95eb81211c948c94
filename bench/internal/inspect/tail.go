package inspect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/topology"
	"github.com/doppio-cache/doppio/invalidation"
)

// ErrOptions reports what Tail cannot be asked for.
var ErrOptions = errors.New("inspect: invalid options")

// TailOptions say what to follow.
type TailOptions struct {
	Namespace string
	// Since is where to begin: an id of a lane, ms-seq, whose followers come first, or how long ago, as a duration. Empty: now.
	Since string
	// Cache and Key leave only what concerns one entry. A tag's hash is its own: an entry's tags are not followed.
	Cache, Key string
	// Count ends it after that many messages; 0: it ends with its context.
	Count int
}

func (o TailOptions) validate() error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("%w: "+format, append([]any{ErrOptions}, args...)...))
	}
	if !goodName(o.Namespace) {
		fault("Namespace %.80q is empty, or holds one of :{}*?[]\\", o.Namespace)
	}
	if (o.Key == "") != (o.Cache == "") {
		fault("Key and Cache go together: a hash is of both")
	} else if o.Cache != "" && !goodName(o.Cache) {
		fault("Cache %.80q holds one of :{}*?[]\\", o.Cache)
	}
	if o.Count < 0 {
		fault("Count %d is negative", o.Count)
	}
	if _, _, err := parseSince(o.Since); err != nil {
		fault("Since %.80q is neither an id, ms-seq, nor a positive duration", o.Since)
	}
	return errors.Join(faults...)
}

// parseSince reads an id, or a duration.
func parseSince(s string) (id lane.ID, ago time.Duration, err error) {
	if s == "" {
		return 0, 0, nil
	}
	if id, err = lane.Parse(s); err == nil {
		return id, 0, nil
	}
	if ago, err = time.ParseDuration(s); err != nil || ago <= 0 {
		return 0, 0, ErrOptions
	}
	return 0, ago, nil
}

// Tail hands on what happens in a namespace until ctx ends, Count is reached, or emit fails. That ctx ended is no error. It
// subscribes as an instance does, and changes nothing.
func Tail(ctx context.Context, rdb redis.UniversalClient, o TailOptions, emit func(Event) error) (s Summary, err error) {
	if err := o.validate(); err != nil {
		return s, err
	}
	began := time.Now()
	defer func() {
		s.Seconds = time.Since(began).Seconds()
		s.PerSecond = float64(s.Messages) / max(s.Seconds, 1e-3)
		if ctx.Err() != nil {
			err = nil // the end that was asked for
		}
	}()
	following, stop := context.WithCancel(ctx)
	var followers sync.WaitGroup
	defer followers.Wait()
	defer stop()

	lanes, skew, err := prepare(ctx, rdb, o)
	if err != nil {
		return s, fmt.Errorf("inspect: tail: %w", err)
	}
	servers, err := topology.Of(rdb, o.Namespace, invalidation.DefaultMaxStaleness)
	if err != nil {
		return s, fmt.Errorf("inspect: tail: %w", err)
	}
	events := make(chan Event)
	failed := make(chan error, len(lanes))
	for _, l := range lanes {
		f := newFollower(rdb, servers, o, l, skew, events)
		followers.Go(func() {
			if err := f.run(following); err != nil {
				failed <- err
			}
		})
	}
	for {
		select {
		case e := <-events:
			if err := emit(e); err != nil {
				return s, err
			}
			switch e.What {
			case Gap:
				s.Gaps++
			case Lost:
				s.Losses++
			case Message:
				s.Messages++
			}
			if o.Count > 0 && s.Messages >= int64(o.Count) {
				return s, nil
			}
		case err := <-failed:
			return s, fmt.Errorf("inspect: tail: %w", err)
		case <-ctx.Done():
			return s, nil
		}
	}
}

// prepare finds the lanes to follow, and by how much this machine's clock is behind Redis's.
func prepare(ctx context.Context, rdb redis.UniversalClient, o TailOptions) (lanes []int, skew time.Duration, err error) {
	count, err := countLanes(ctx, rdb, o.Namespace)
	if err != nil {
		return nil, 0, err
	}
	before := time.Now()
	at, err := rdb.Time(ctx).Result()
	if err != nil {
		return nil, 0, err
	}
	after := time.Now()
	skew = at.Sub(before.Add(after.Sub(before) / 2))
	if o.Key != "" {
		p := Place{Namespace: o.Namespace, Cache: o.Cache, Key: o.Key}
		return []int{lane.Index(p.hash(), count)}, skew, nil
	}
	for i := range max(count, 1) {
		lanes = append(lanes, i)
	}
	return lanes, skew, nil
}

// concerns tells whether a message is about the entry that is followed, or its cache, or everything.
func (o TailOptions) concerns(m invalidation.Message) bool {
	if o.Key == "" {
		return true
	}
	p := Place{Namespace: o.Namespace, Cache: o.Cache, Key: o.Key}
	switch m.Type {
	case invalidation.TypeKeys, invalidation.TypeFilled:
		return slices.Contains(m.Hashes, p.hash())
	case invalidation.TypeAll:
		return true
	default:
		return slices.Contains(m.Hashes, p.seed())
	}
}

// start is where a replay begins, as XRANGE takes it; "" for none.
func (o TailOptions) start(skew time.Duration) string {
	id, ago, _ := parseSince(o.Since) // it was checked before
	switch {
	case ago > 0:
		return strconv.FormatInt(max(time.Now().Add(skew-ago).UnixMilli(), 0), 10)
	case o.Since != "":
		return "(" + id.String()
	}
	return ""
}
