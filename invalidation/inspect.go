package invalidation

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/topology"
)

// An operator may ask which instances hold a local copy of a key. The query goes to the channel on
// which an instance receives its own probes. The reply goes to a channel of the same kind, whose
// name the asker makes up. So neither needs a subscription or a permission that an instance lacks.
// A receiver of a version that does not know the query takes it for an unreadable probe and ignores
// it.

const (
	queryMark         = "?1 " // with the version of the protocol; no probe begins so
	replyMark         = "!1 "
	maxQuery          = 128 << 10 // more than the bytes of a query: a key of 65,535 bytes in base64, and three numbers
	maxReply          = 256       // more than the bytes of a reply
	maxRunningReplies = 4         // a flood of queries gets no more, and delays no message
)

// CopyQuery asks for the local copy of one key.
type CopyQuery struct {
	Seed uint64 // the hash that stands for the cache
	Key  string
}

// CopyStatus is the reply of one instance to a [CopyQuery].
type CopyStatus struct {
	Instance uint64
	State    State         // of its subscription to the lane
	Present  bool          // it holds a copy
	Valid    bool          // it would serve the copy now
	TTL      time.Duration // how long the copy lives yet; negative: it does not expire
}

// CopyInspector is implemented by a [Handler] that answers queries. InspectCopy is called by
// several goroutines, and must not block. The receiver sets Instance and State.
type CopyInspector interface {
	InspectCopy(q CopyQuery) CopyStatus
}

// parseQuery parses a query.
func parseQuery(payload string) (asker uint64, nonce string, q CopyQuery, err error) {
	f, ok := splitWords(strings.TrimPrefix(payload, queryMark), 4, maxQuery)
	if !ok {
		return 0, "", CopyQuery{}, fmt.Errorf("%w: %d bytes are no query", ErrMalformed, len(payload))
	}
	asker, err1 := strconv.ParseUint(f[0], 16, 64)
	seed, err2 := strconv.ParseUint(f[2], 16, 64)
	key, err3 := base64.RawURLEncoding.DecodeString(f[3])
	if err := errors.Join(err1, err2, err3); err != nil {
		return 0, "", CopyQuery{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return asker, f[1], CopyQuery{Seed: seed, Key: string(key)}, nil
}

func (q CopyQuery) text(asker uint64, nonce string) string {
	return queryMark + strconv.FormatUint(asker, 16) + " " + nonce + " " + strconv.FormatUint(q.Seed, 16) + " " +
		base64.RawURLEncoding.EncodeToString([]byte(q.Key))
}

func (h CopyStatus) text(nonce string) string {
	return fmt.Sprintf("%s%s %x %d %t %t %d", replyMark, nonce, h.Instance, h.State, h.Present, h.Valid, h.TTL.Milliseconds())
}

// parseCopyStatus parses the reply of an instance to the query with this nonce.
func parseCopyStatus(payload, nonce string) (h CopyStatus, err error) {
	f, ok := splitWords(strings.TrimPrefix(payload, replyMark), 6, maxReply)
	if !ok || !strings.HasPrefix(payload, replyMark) || f[0] != nonce {
		return h, fmt.Errorf("%w: no reply to this query", ErrMalformed)
	}
	instance, err1 := strconv.ParseUint(f[1], 16, 64)
	state, err2 := strconv.ParseUint(f[2], 10, 8)
	held, err3 := strconv.ParseBool(f[3])
	valid, err4 := strconv.ParseBool(f[4])
	left, err5 := strconv.ParseInt(f[5], 10, 64)
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return h, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return CopyStatus{Instance: instance, State: State(state), Present: held, Valid: valid, TTL: time.Duration(left) * time.Millisecond}, nil
}

// replyTo answers a query, from a goroutine of its own: the messages that follow do not wait for
// it. Beyond maxRunningReplies a query goes unanswered, which the asker notices.
func (r *Receiver) replyTo(ctx context.Context, payload string, sharded bool) {
	holder, ok := r.opts.Handler.(CopyInspector)
	if !ok {
		return
	}
	asker, nonce, q, err := parseQuery(payload)
	if err != nil {
		r.opts.Logger.Debug("doppio: unreadable query", "lane", r.opts.Lane, "error", err)
		return
	}
	select {
	case r.replySlots <- struct{}{}:
	default:
		r.opts.Logger.Debug("doppio: too many queries at once: one goes unanswered", "lane", r.opts.Lane)
		return
	}
	r.goroutines.Go(func() {
		defer func() { <-r.replySlots }()
		var h CopyStatus
		if err := callGuarded(r.opts.Panics, func() error { h = holder.InspectCopy(q); return nil }); err != nil {
			r.opts.Logger.Error("doppio: a query could not be answered", "lane", r.opts.Lane, "error", err)
			return
		}
		h.Instance, h.State = r.opts.Instance, r.State()
		ctx, cancel := context.WithTimeout(ctx, r.opts.MaxStaleness)
		defer cancel()
		err := callGuarded(r.opts.Panics, func() error { return publish(ctx, r.rdb, r.names.Echo(asker), h.text(nonce), sharded) })
		if err != nil {
			r.opts.Logger.Debug("doppio: a query could not be answered", "lane", r.opts.Lane, "error", err)
		}
	})
}

func publish(ctx context.Context, rdb redis.UniversalClient, channel, payload string, sharded bool) error {
	if sharded {
		return rdb.SPublish(ctx, channel, payload).Err()
	}
	return rdb.Publish(ctx, channel, payload).Err()
}

// FindCopies asks the instances of a namespace which of them hold a local copy of a key. It asks
// those that follow the lane with this index, which must be the lane of the key. It returns when
// all have replied or when ctx has ended, which is no error: asked is how many instances were
// asked. An instance that is cut off, or of a version that does not know the query, does not reply.
// FindCopies needs the permission for PUBSUB, which an instance does not need.
func FindCopies(ctx context.Context, rdb redis.UniversalClient, namespace string, index int, q CopyQuery,
) (found []CopyStatus, asked int, err error) {
	servers, err := topology.Of(rdb, namespace, DefaultMaxStaleness)
	if err != nil {
		return nil, 0, fmt.Errorf("invalidation: find copies: %w", err)
	}
	names := servers.Lane(namespace, index)
	sharded, err := servers.Sharded(ctx, names.Stream)
	if err != nil {
		return nil, 0, fmt.Errorf("invalidation: find copies: %w", err)
	}
	asker, nonce := rand.Uint64(), strconv.FormatUint(rand.Uint64(), 16)
	mine := names.Echo(asker)

	ps := rdb.Subscribe(ctx) // does not dial yet
	closing, stop := context.WithCancel(ctx)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		<-closing.Done()
		_ = callGuarded(nil, ps.Close) // it interrupts Receive
	}()
	defer func() { stop(); <-closed }()

	subscribe := ps.Subscribe
	if sharded {
		subscribe = ps.SSubscribe
	}
	if err := subscribe(ctx, mine); err != nil {
		return nil, 0, fmt.Errorf("invalidation: find copies: %w", err)
	}
	for {
		got, err := ps.Receive(ctx)
		if err != nil {
			if asked > 0 && over(ctx) {
				return found, asked, nil
			}
			return found, asked, fmt.Errorf("invalidation: find copies: %w", err)
		}
		switch m := got.(type) {
		case *redis.Subscription: // no reply can be missed from now on
			query := queryBroadcast{rdb, servers.Masters(), sharded, names, mine, q.text(asker, nonce)}
			if asked, err = query.send(ctx); err != nil {
				return nil, 0, fmt.Errorf("invalidation: find copies: %w", err)
			}
		case *redis.Message:
			if h, err := parseCopyStatus(m.Payload, nonce); err == nil && !replied(found, h.Instance) {
				found = append(found, h)
			}
		}
		if len(found) >= asked {
			return found, asked, nil
		}
	}
}

// over reports whether ctx has ended or is about to: a connection notices its deadline a little
// sooner.
func over(ctx context.Context) bool {
	deadline, ends := ctx.Deadline()
	return ctx.Err() != nil || ends && !time.Now().Before(deadline)
}

func replied(found []CopyStatus, instance uint64) bool {
	for _, h := range found {
		if h.Instance == instance {
			return true
		}
	}
	return false
}

// queryBroadcast is a query on its way to the instances.
type queryBroadcast struct {
	rdb     redis.UniversalClient
	masters topology.Masters // nil with one server
	sharded bool
	names   lane.Names
	replyTo string // the asker's channel
	text    string
}

// send sends the query to every instance whose channel for probes has a subscriber, and returns how
// many those are.
func (c queryBroadcast) send(ctx context.Context) (asked int, err error) {
	var channels []string
	switch {
	case c.masters == nil:
		channels, err = c.rdb.PubSubChannels(ctx, c.names.Echoes()).Result()
	case c.sharded:
		var node *redis.Client // that of the lane has its channels, too
		if node, err = c.masters.MasterForKey(ctx, c.names.Stream); err == nil {
			channels, err = node.PubSubShardChannels(ctx, c.names.Echoes()).Result()
		}
	default:
		channels, err = channelsOfAll(ctx, c.masters, c.names.Echoes())
	}
	if err != nil {
		return 0, err
	}
	for _, channel := range channels {
		if channel == c.replyTo {
			continue
		}
		if err := publish(ctx, c.rdb, channel, c.text, c.sharded); err != nil {
			return asked, err
		}
		asked++
	}
	return asked, nil
}

// channelsOfAll lists the channels of every master: a subscription without shards may be at any of
// them.
func channelsOfAll(ctx context.Context, masters topology.Masters, pattern string) ([]string, error) {
	var mu sync.Mutex
	var all []string
	err := masters.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		channels, err := node.PubSubChannels(ctx, pattern).Result()
		mu.Lock()
		defer mu.Unlock()
		all = append(all, channels...)
		return err
	})
	slices.Sort(all)
	return slices.Compact(all), err
}
