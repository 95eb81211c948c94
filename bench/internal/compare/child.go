package compare

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/bench/internal/peers"
)

// ChildCommand is the subcommand that calls [Child].
const ChildCommand = "measure-memory"

type childRequest struct {
	Subject     string
	Addr        string
	DB          int
	Namespace   string
	Entries     int
	Collections int
}

type childReply struct {
	Missing       string
	Entries       int // that it holds
	BytesPerEntry float64
	PauseMicros   []float64 // of each collection
	CPUMillis     []float64
}

// valueBytes is what the values themselves take. The keys that the caller has are there before; a copy of a key is the
// library's, and counts.
const valueBytes = 8

// Child fills and measures the subject that a request names: what [Options].Child has to call, in a process of its own.
func Child(ctx context.Context, in io.Reader, out io.Writer) error {
	var request childRequest
	if err := json.NewDecoder(in).Decode(&request); err != nil {
		return fmt.Errorf("compare: request: %w", err)
	}
	s := newSession(Options{})
	for _, subject := range s.numbers.subjects {
		if subject.Info.Name != request.Subject {
			continue
		}
		reply, err := measureMemory(ctx, subject, &s.numbers, request)
		if err != nil {
			return err
		}
		return json.NewEncoder(out).Encode(reply)
	}
	return fmt.Errorf("%w: Subjects has %q, which there is not", ErrOptions, request.Subject)
}

func measureMemory(ctx context.Context, subject peers.Subject[int64], b *bench[int64], request childRequest) (reply childReply, err error) {
	client := redis.NewClient(&redis.Options{Addr: request.Addr, DB: request.DB})
	defer func() { err = errors.Join(err, client.Close()) }()
	asked := readsAsked(client)
	if _, err := asked(ctx); err != nil { // so that its connection is there before
		return reply, err
	}
	d := b.data("number", request.Entries)
	c := peers.Config{
		Addr: request.Addr, DB: request.DB, Namespace: request.Namespace, TTL: ttl, PoolSize: poolSize, Local: true,
		Entries: int64(request.Entries + request.Entries/10), // tiers in shards need some room in each
	}
	fixed, err := fixedBytes(ctx, subject, b, c)
	if err != nil {
		return reply, err
	}
	before := heap()
	cache, err := subject.Open(ctx, c)
	if err != nil {
		return reply, err
	}
	defer func() { err = errors.Join(err, cache.Close()) }()
	p := &player[int64]{name: subject.Info.Name, caches: []peers.Cache[int64]{cache}}
	if err := d.fill(ctx, p); err != nil {
		return reply, err
	}
	if reply.Entries, err = d.insist(ctx, cache, asked); err != nil {
		return reply, err
	}
	if reply.Entries < request.Entries-request.Entries/20 {
		return childReply{Missing: fmt.Sprintf("of %d entries that fit it holds %d", request.Entries, reply.Entries)}, nil
	}
	reply.BytesPerEntry = (heap()-before-fixed)/float64(reply.Entries) - valueBytes
	for range request.Collections {
		pause, cpu := collect()
		reply.PauseMicros, reply.CPUMillis = append(reply.PauseMicros, pause), append(reply.CPUMillis, cpu)
	}
	runtime.KeepAlive(d)
	return reply, nil
}

// fixedBytes are what a subject takes whatever it holds: its connections and their buffers, which are there once as many
// callers as will fill it have used it. Those are no part of an entry. A tier for few entries is opened for it, and closed.
func fixedBytes[V any](ctx context.Context, subject peers.Subject[V], b *bench[V], c peers.Config) (bytes float64, err error) {
	const few = 256
	d := b.data("warm", few)
	c.Namespace, c.Entries = c.Namespace+"-warm", 2*few
	before := heap()
	cache, err := subject.Open(ctx, c)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, cache.Close()) }()
	if err := d.fill(ctx, &player[V]{name: subject.Info.Name, caches: []peers.Cache[V]{cache}}); err != nil {
		return 0, err
	}
	g, err := can[peers.Getter[V]](cache, errNoGet)
	if err != nil {
		return 0, err
	}
	settle(cache)
	if _, err := d.absent(ctx, g); err != nil {
		return 0, err
	}
	bytes = heap() - before
	runtime.KeepAlive(d)
	return bytes, nil
}

// insist writes what is missing once more, a few times, and returns how many entries are local: of those that a pass over all
// finds, not those for which it asked Redis, as asked tells. Such a pass brings them local for the next one, too.
func (d *data[V]) insist(ctx context.Context, cache peers.Cache[V], asked func(context.Context) (float64, error)) (int, error) {
	const passes = 6
	g, err := can[peers.Getter[V]](cache, errNoGet)
	if err != nil {
		return 0, err
	}
	held := 0
	for pass := range passes {
		settle(cache)
		before, err := asked(ctx)
		if err != nil {
			return 0, err
		}
		missing, err := d.absent(ctx, g)
		if err != nil {
			return 0, err
		}
		after, err := asked(ctx)
		if err != nil {
			return 0, err
		}
		// What is nowhere was asked for as well, by those that have a remote tier: it is not to be taken off twice.
		held = len(d.keys) - max(len(missing), int(after-before))
		if held == len(d.keys) || pass == passes-1 {
			break
		}
		for _, i := range missing {
			if err := d.put(ctx, cache, int(i)); err != nil {
				return 0, err
			}
			if i%100 == 0 {
				settle(cache)
			}
		}
	}
	return held, nil
}

// heap is what is alive, after two collections: what the first one finalizes, the second one frees.
func heap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// collect forces a collection, and returns for how many microseconds it stopped the world, and how many milliseconds of CPU it took.
func collect() (pause, cpu float64) {
	var before, after debug.GCStats
	debug.ReadGCStats(&before)
	spent := collectorSeconds()
	runtime.GC()
	debug.ReadGCStats(&after)
	return float64(after.PauseTotal-before.PauseTotal) / float64(time.Microsecond), (collectorSeconds() - spent) * 1000
}

func collectorSeconds() float64 {
	samples := []metrics.Sample{{Name: "/cpu/classes/gc/total:cpu-seconds"}}
	metrics.Read(samples)
	return samples[0].Value.Float64()
}
