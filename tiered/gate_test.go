package tiered_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/tiered"
	"github.com/doppio-cache/doppio/tiered/tieredtest"
)

// gate holds scripts of calls whose context it has marked, and pipelines of them, until they are let go.
type gate struct {
	mu   sync.Mutex
	held []*heldTrip
	open bool
}

// heldTrip is a round trip that waits to be sent.
type heldTrip struct {
	keys    []string // without the lane's
	verdict chan verdict
}

// verdict is what becomes of a round trip: it passes, or fails with err, after it was sent or before.
type verdict struct {
	err  error
	sent bool
}

var (
	passes = verdict{sent: true}
	lost   = verdict{io.EOF, true}           // the reply is lost
	unsent = verdict{redis.ErrClosed, false} // it never reaches Redis
)

type gateKey struct{}

// mark makes a call stop at the gate.
func mark(ctx context.Context) context.Context { return context.WithValue(ctx, gateKey{}, true) }

func keysOfScript(cmd redis.Cmder) []string {
	args := cmd.Args()
	if name := cmd.Name(); name != "evalsha" && name != "eval" {
		return nil
	}
	var keys []string
	for _, arg := range args[3 : 3+args[2].(int)] {
		if key := arg.(string); !strings.HasPrefix(key, "{") {
			keys = append(keys, key[strings.LastIndex(key, ":")+1:])
		}
	}
	return keys
}

func (g *gate) pass(ctx context.Context, cmds []redis.Cmder, next func() error) error {
	var keys []string
	for _, cmd := range cmds {
		keys = append(keys, keysOfScript(cmd)...)
	}
	if ctx.Value(gateKey{}) == nil || keys == nil {
		return next()
	}
	trip := &heldTrip{keys: keys, verdict: make(chan verdict, 1)}
	g.mu.Lock()
	if g.open {
		g.mu.Unlock()
		return next()
	}
	g.held = append(g.held, trip)
	g.mu.Unlock()
	v := <-trip.verdict
	if v.sent {
		if err := next(); err != nil {
			return err
		}
	}
	if v.err != nil {
		for _, cmd := range cmds {
			cmd.SetErr(v.err)
		}
	}
	return v.err
}

func (g *gate) DialHook(next redis.DialHook) redis.DialHook { return next }

func (g *gate) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		return g.pass(ctx, []redis.Cmder{cmd}, func() error { return next(ctx, cmd) })
	}
}

func (g *gate) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		return g.pass(ctx, cmds, func() error { return next(ctx, cmds) })
	}
}

// at gives what stands at the gate once nothing else goes on, and requires how many keys each has, in order of arrival.
func (g *gate) at(t *testing.T, sizes ...int) []*heldTrip {
	t.Helper()
	synctest.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	var got []int
	for _, trip := range g.held {
		got = append(got, len(trip.keys))
	}
	if !slices.Equal(got, sizes) {
		t.Fatalf("at the gate stand trips of %v keys, want %v", got, sizes)
	}
	return slices.Clone(g.held)
}

func (g *gate) let(trip *heldTrip, v verdict) {
	g.mu.Lock()
	g.held = slices.DeleteFunc(g.held, func(other *heldTrip) bool { return other == trip })
	g.mu.Unlock()
	trip.verdict <- v
}

// leave opens the gate for good.
func (g *gate) leave() {
	g.mu.Lock()
	g.open = true
	held := g.held
	g.held = nil
	g.mu.Unlock()
	for _, trip := range held {
		trip.verdict <- passes
	}
}

// rig is an instance behind a gate, and another, in a bubble whose time stands still unless the test sleeps.
type rig struct {
	*gate
	r             *tieredtest.Redis
	ns            string
	client, other *tiered.Client
	c, b          *tiered.Cache[string]
	raw           *redis.Client
}

func newRig(t *testing.T, o tiered.Options, mutate ...func(*redis.Options)) *rig {
	t.Helper()
	g := &rig{gate: &gate{}, r: tieredtest.NewRedis(t), ns: "ns"}
	o.Namespace, o.RemoteTimeout = g.ns, time.Minute
	plain := func(mutate ...func(*redis.Options)) *redis.Client {
		template := g.r.Client()
		options := *template.Options()
		check(t, template.Close())
		for _, m := range mutate {
			m(&options)
		}
		rdb := redis.NewClient(&options)
		t.Cleanup(func() { _ = rdb.Close() })
		return rdb
	}
	behind := plain(mutate...)
	behind.AddHook(g.gate)
	g.raw = plain()
	g.client = coherent(t, behind, o)
	g.other = coherent(t, plain(), tiered.Options{Namespace: g.ns, Lanes: o.Lanes})
	g.c, g.b = newCache[string](t, g.client, "c", tiered.CacheOptions{}), newCache[string](t, g.other, "c", tiered.CacheOptions{})
	t.Cleanup(g.leave)
	// The server knows the scripts.
	items := []tiered.Item[string]{{Key: "warm1", Value: "v"}, {Key: "warm2", Value: "v"}, {Key: "warm3", Value: "v"}, {Key: "warm4", Value: "v"}}
	_, err := g.c.SetMany(t.Context(), items)
	check(t, err)
	_, err = g.c.DeleteMany(t.Context(), []string{"warm1", "warm2", "warm3", "warm4"})
	check(t, err)
	check(t, g.c.Set(t.Context(), "warm1", "v"))
	_, err = g.c.Delete(t.Context(), "warm1")
	check(t, err)
	return g
}

// set begins a Set that stops at the gate.
func (g *rig) set(ctx context.Context, key, value string) <-chan result[bool] {
	return async(func() (bool, error) { return false, g.c.Set(mark(ctx), key, value) })
}

// remove begins a Delete that does.
func (g *rig) remove(ctx context.Context, key string) <-chan result[bool] {
	return async(func() (bool, error) { return g.c.Delete(mark(ctx), key) })
}

// both makes both instances hold a local copy of key, with this value.
func (g *rig) both(t *testing.T, key, value string) {
	t.Helper()
	check(t, g.c.Set(t.Context(), key, value))
	synctest.Wait() // the message has come
	for _, c := range []*tiered.Cache[string]{g.c, g.b} {
		wantGet(t, c, key, value)
	}
	g.wantLocal(t, g.client, g.c, key, value)
	g.wantLocal(t, g.other, g.b, key, value)
}

// wantLocal requires that a read is a local hit.
func (g *rig) wantLocal(t *testing.T, client *tiered.Client, c *tiered.Cache[string], key, value string) {
	t.Helper()
	before := client.Stats().LocalHits
	wantGet(t, c, key, value)
	if client.Stats().LocalHits != before+1 {
		t.Fatalf("%s was not local", key)
	}
}

// told is how many messages the lanes hold.
func (g *rig) told(t *testing.T) int {
	t.Helper()
	n := 0
	for i := range 2 {
		n += int(g.raw.XLen(t.Context(), lane.Of(g.ns, i).Stream).Val())
	}
	return n
}

// fill makes as many Sets fly as may at the same time, so that others wait, and gives their results.
func (g *rig) fill(t *testing.T) []<-chan result[bool] {
	t.Helper()
	flying := make([]<-chan result[bool], 2)
	for i := range flying {
		flying[i] = g.set(t.Context(), fmt.Sprint("flying", i), "v")
		synctest.Wait()
	}
	g.at(t, 1, 1)
	return flying
}

func wantAll(t *testing.T, calls ...<-chan result[bool]) {
	t.Helper()
	for i, call := range calls {
		if err := receive(t, fmt.Sprint("call ", i), call).err; err != nil {
			t.Errorf("call %d: %v", i, err)
		}
	}
}

func inBubble(t *testing.T, run func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, run)
}
