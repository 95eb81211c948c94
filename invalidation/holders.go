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

// An operator may ask which instances hold a near copy of a key. The question goes to the channel on which an instance
// hears its own echoes, and the answer to a channel of that kind that the asker has made up: no subscription and no
// permission more than an instance has anyway. Who does not know the question takes it for an echo that cannot be read,
// and goes on.

const (
	questionMark = "?1 " // the protocol's version is in it, and no echo begins so
	answerMark   = "!1 "
	maxQuestion  = 128 << 10 // more than the bytes of a question: a key of 65,535 bytes in base64, and three numbers
	maxHolding   = 256       // more than the bytes of an answer
	maxTelling   = 4         // answers under way; a flood of questions gets no more, and delays no message
)

// Question is about the near copy of one key.
type Question struct {
	Seed uint64 // the hash that stands for the cache
	Key  string
}

// Holding is what one instance says.
type Holding struct {
	Instance uint64
	State    State         // of its subscription to the lane
	Held     bool          // it has a copy
	Valid    bool          // which it would serve now
	Left     time.Duration // of the copy's life; negative: it has no end
}

// Holder is a Handler that answers questions. Holds is called by several goroutines, and must not block.
type Holder interface{ Holds(q Question) Holding }

// parseQuestion reads what an asker published.
func parseQuestion(payload string) (asker uint64, nonce string, q Question, err error) {
	f, ok := words(strings.TrimPrefix(payload, questionMark), 4, maxQuestion)
	if !ok {
		return 0, "", Question{}, fmt.Errorf("%w: %d bytes are no question", ErrMalformed, len(payload))
	}
	asker, err1 := strconv.ParseUint(f[0], 16, 64)
	seed, err2 := strconv.ParseUint(f[2], 16, 64)
	key, err3 := base64.RawURLEncoding.DecodeString(f[3])
	if err := errors.Join(err1, err2, err3); err != nil {
		return 0, "", Question{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return asker, f[1], Question{Seed: seed, Key: string(key)}, nil
}

func (q Question) text(asker uint64, nonce string) string {
	return questionMark + strconv.FormatUint(asker, 16) + " " + nonce + " " + strconv.FormatUint(q.Seed, 16) + " " +
		base64.RawURLEncoding.EncodeToString([]byte(q.Key))
}

func (h Holding) text(nonce string) string {
	return fmt.Sprintf("%s%s %x %d %t %t %d", answerMark, nonce, h.Instance, h.State, h.Held, h.Valid, h.Left.Milliseconds())
}

// parseHolding reads what an instance answered to the question with this nonce.
func parseHolding(payload, nonce string) (h Holding, err error) {
	f, ok := words(strings.TrimPrefix(payload, answerMark), 6, maxHolding)
	if !ok || !strings.HasPrefix(payload, answerMark) || f[0] != nonce {
		return h, fmt.Errorf("%w: no answer to what was asked", ErrMalformed)
	}
	instance, err1 := strconv.ParseUint(f[1], 16, 64)
	state, err2 := strconv.ParseUint(f[2], 10, 8)
	held, err3 := strconv.ParseBool(f[3])
	valid, err4 := strconv.ParseBool(f[4])
	left, err5 := strconv.ParseInt(f[5], 10, 64)
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return h, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return Holding{Instance: instance, State: State(state), Held: held, Valid: valid, Left: time.Duration(left) * time.Millisecond}, nil
}

// tell answers a question, from a goroutine of its own: what follows over the subscription does not wait for it. Beyond
// maxTelling it goes unanswered, which its asker notices.
func (r *Receiver) tell(ctx context.Context, payload string, sharded bool) {
	holder, ok := r.opts.Handler.(Holder)
	if !ok {
		return
	}
	asker, nonce, q, err := parseQuestion(payload)
	if err != nil {
		r.opts.Logger.Debug("doppio: unreadable question", "lane", r.opts.Lane, "error", err)
		return
	}
	select {
	case r.telling <- struct{}{}:
	default:
		r.opts.Logger.Debug("doppio: too many questions at once: one goes unanswered", "lane", r.opts.Lane)
		return
	}
	r.done.Go(func() {
		defer func() { <-r.telling }()
		var h Holding
		if err := guarded(r.opts.Panics, func() error { h = holder.Holds(q); return nil }); err != nil {
			r.opts.Logger.Error("doppio: a question could not be answered", "lane", r.opts.Lane, "error", err)
			return
		}
		h.Instance, h.State = r.opts.Instance, r.State()
		ctx, cancel := context.WithTimeout(ctx, r.opts.MaxStaleness)
		defer cancel()
		if err := guarded(r.opts.Panics, func() error { return publish(ctx, r.rdb, r.names.Echo(asker), h.text(nonce), sharded) }); err != nil {
			r.opts.Logger.Debug("doppio: a question could not be answered", "lane", r.opts.Lane, "error", err)
		}
	})
}

func publish(ctx context.Context, rdb redis.UniversalClient, channel, payload string, sharded bool) error {
	if sharded {
		return rdb.SPublish(ctx, channel, payload).Err()
	}
	return rdb.Publish(ctx, channel, payload).Err()
}

// Holders asks all instances of a namespace that follow a lane, of lanes in all, whether they hold a near copy of a key: of the
// lane that carries what concerns it. It returns when all have answered, or with ctx, which is no error: asked tells how many
// there are. Those that are cut off, or of a version that does not know the question, are silent. It needs PUBSUB, which
// instances do not.
func Holders(ctx context.Context, rdb redis.UniversalClient, namespace string, index int, q Question) (told []Holding, asked int, err error) {
	servers, err := topology.Of(rdb, namespace, DefaultMaxStaleness)
	if err != nil {
		return nil, 0, fmt.Errorf("invalidation: ask who holds a key: %w", err)
	}
	names := lane.Of(namespace, index).In(servers.Database())
	sharded, err := servers.Sharded(ctx, names.Stream)
	if err != nil {
		return nil, 0, fmt.Errorf("invalidation: ask who holds a key: %w", err)
	}
	asker, nonce := rand.Uint64(), strconv.FormatUint(rand.Uint64(), 16)
	mine := names.Echo(asker)

	ps := rdb.Subscribe(ctx) // does not dial yet
	closing, stop := context.WithCancel(ctx)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		<-closing.Done()
		_ = guarded(nil, ps.Close) // it interrupts Receive
	}()
	defer func() { stop(); <-closed }()

	subscribe := ps.Subscribe
	if sharded {
		subscribe = ps.SSubscribe
	}
	if err := subscribe(ctx, mine); err != nil {
		return nil, 0, fmt.Errorf("invalidation: ask who holds a key: %w", err)
	}
	for {
		got, err := ps.Receive(ctx)
		if err != nil {
			if asked > 0 && over(ctx) {
				return told, asked, nil
			}
			return told, asked, fmt.Errorf("invalidation: ask who holds a key: %w", err)
		}
		switch m := got.(type) {
		case *redis.Subscription: // an answer cannot be missed from now on
			if asked, err = inquire(ctx, rdb, servers.Masters(), sharded, names, mine, q.text(asker, nonce)); err != nil {
				return nil, 0, fmt.Errorf("invalidation: ask who holds a key: %w", err)
			}
		case *redis.Message:
			if h, err := parseHolding(m.Payload, nonce); err == nil && !knows(told, h.Instance) {
				told = append(told, h)
			}
		}
		if len(told) >= asked {
			return told, asked, nil
		}
	}
}

// over tells whether ctx has ended, or is about to: a connection notices its deadline a little sooner.
func over(ctx context.Context) bool {
	deadline, ends := ctx.Deadline()
	return ctx.Err() != nil || ends && !time.Now().Before(deadline)
}

func knows(told []Holding, instance uint64) bool {
	for _, h := range told {
		if h.Instance == instance {
			return true
		}
	}
	return false
}

// inquire asks every instance that hears its echoes, and tells how many that are.
func inquire(ctx context.Context, rdb redis.UniversalClient, masters topology.Masters, sharded bool, names lane.Names, mine, text string) (asked int, err error) {
	var channels []string
	switch {
	case masters == nil:
		channels, err = rdb.PubSubChannels(ctx, names.Echoes()).Result()
	case sharded:
		var node *redis.Client // that of the lane has its channels, too
		if node, err = masters.MasterForKey(ctx, names.Stream); err == nil {
			channels, err = node.PubSubShardChannels(ctx, names.Echoes()).Result()
		}
	default:
		channels, err = everywhere(ctx, masters, names.Echoes())
	}
	if err != nil {
		return 0, err
	}
	for _, c := range channels {
		if c == mine {
			continue
		}
		if err := publish(ctx, rdb, c, text, sharded); err != nil {
			return asked, err
		}
		asked++
	}
	return asked, nil
}

// everywhere lists the channels of every master: a subscription without shards may be at any of them.
func everywhere(ctx context.Context, masters topology.Masters, pattern string) ([]string, error) {
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
