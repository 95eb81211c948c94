package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/redistest"
)

// One Cluster serves all parts that need one; the last of them stop a master.
func TestCluster_everyOperationAndFault(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 3, redistest.WithArgs("--cluster-require-full-coverage", "no", "--cluster-node-timeout", "60000"))
	for _, part := range []struct {
		name string
		run  func(*testing.T, *redistest.Cluster)
	}{
		{"every operation", everyOperation},
		{"batches over many slots", manySlots},
		{"nodes without scripts", nodesWithoutScripts},
		{"a slot that moves", movingSlot},
		{"a lane that moves", movingLane},
		{"clear and count on all masters", scanAllMasters},
		{"out of memory", fullCluster},
		{"a reply that is lost", lostClusterReply},
		{"a master that hangs", func(t *testing.T, c *redistest.Cluster) {
			deadShard(t, c, c.Nodes[1], c.Nodes[1].Pause, c.Nodes[1].Resume)
		}},
		{"a master that is gone", func(t *testing.T, c *redistest.Cluster) { deadShard(t, c, c.Nodes[2], c.Nodes[2].Kill, func() {}) }},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, c) })
	}
}

func someKeys(prefix string, n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprint(prefix, i)
	}
	return keys
}

func writesOf(keys []string) []Write {
	writes := make([]Write, len(keys))
	for i, k := range keys {
		writes[i] = Write{Key: k, Record: value("of " + k), Announcement: news("m")}
	}
	return writes
}

func noErrors(t *testing.T, errs []error) {
	t.Helper()
	for i, err := range errs {
		if err != nil {
			t.Fatalf("%d of %d: %v", i, len(errs), err)
		}
	}
}

func everyOperation(t *testing.T, c *redistest.Cluster) {
	s := newStore(t, c.Client(t))
	for i, op := range operations {
		for j := range 3 {
			key := fmt.Sprint("every", i, j)
			err := op.do(t.Context(), s, key)
			t.Log(op.name)
			switch op.name {
			case "Get", "GetMany", "TTL":
				wantErr(t, err, ErrNotFound)
			default:
				wantErr(t, err)
			}
		}
	}
}

func manySlots(t *testing.T, c *redistest.Cluster) {
	s := newStore(t, c.Client(t), func(o *Options) { o.BatchSize = 70 })
	keys := someKeys("many", 200)
	noErrors(t, s.SetMany(t.Context(), writesOf(keys)))
	asked := append([]string{"many-none"}, keys...)
	for i, r := range s.GetMany(t.Context(), asked) {
		if i == 0 {
			wantErr(t, r.Err, ErrNotFound)
		} else if r.Err != nil || string(r.Record.Payload) != "of "+asked[i] {
			t.Fatalf("%s: %q, %v", asked[i], r.Record.Payload, r.Err)
		}
	}
	exist, errs := existsMany(t.Context(), s, asked, 0)
	noErrors(t, errs)
	existed, errs := s.DeleteMany(t.Context(), deletions(asked, 0))
	noErrors(t, errs)
	for i := range asked {
		if exist[i] != (i > 0) || existed[i] != (i > 0) {
			t.Fatalf("%s: there %v, removed %v", asked[i], exist[i], existed[i])
		}
	}
	life := time.Hour
	made, err := s.TagVersions(t.Context(), keys, &life)
	must(t, err)
	read, err := s.TagVersions(t.Context(), keys, nil)
	must(t, err)
	for i := range keys {
		if made[i] != read[i] {
			t.Fatalf("tag %s: %v, %v", keys[i], made[i], read[i])
		}
	}
}

func nodesWithoutScripts(t *testing.T, c *redistest.Cluster) {
	s := newStore(t, c.Client(t))
	noErrors(t, s.SetMany(t.Context(), writesOf(someKeys("known", 30))))
	must(t, c.Nodes[1].Client(t).ScriptFlush(t.Context()).Err()) // the others keep theirs
	noErrors(t, s.SetMany(t.Context(), writesOf(someKeys("known", 60))))
	must(t, c.Nodes[1].Client(t).ScriptFlush(t.Context()).Err())
	before := 0
	for _, n := range c.Nodes {
		must(t, n.Client(t).ScriptFlush(t.Context()).Err())
		before += calls(t, n.Client(t), "eval")
	}
	noErrors(t, s.SetMany(t.Context(), writesOf(someKeys("known", 300))))
	whole := -before
	for _, n := range c.Nodes {
		whole += calls(t, n.Client(t), "eval")
	}
	if whole < len(c.Nodes) || whole > 1+2+4 { // each round teaches a node at least
		t.Errorf("%d scripts were sent whole to %d nodes", whole, len(c.Nodes))
	}
	must(t, c.Nodes[1].Client(t).ScriptFlush(t.Context()).Err())
	for _, k := range someKeys("known", 6) {
		must(t, s.Set(t.Context(), k, value("v"), nil))
	}
}

// A client that does not know yet that a slot has moved is sent on; nothing is lost, and nothing is
// done twice.
func movingSlot(t *testing.T, c *redistest.Cluster) {
	rdb := c.Client(t)
	s := newStore(t, rdb)
	const tag = "{moving}"
	keys := someKeys(tag, 20)
	for _, k := range keys {
		_, err := increment(t.Context(), s, k, 1, nil, number(0), 0, nil)
		must(t, err)
	}
	increment := func(when string, want string) {
		t.Helper()
		for _, k := range keys {
			if _, err := increment(t.Context(), s, k, 1, nil, number(0), 0, nil); err != nil {
				t.Errorf("%s: %v", when, err)
			}
		}
		for i, r := range s.GetMany(t.Context(), keys) {
			if r.Err != nil || string(r.Record.Payload) != want {
				t.Errorf("%s: %s is %q, %v, want %s", when, keys[i], r.Record.Payload, r.Err, want)
			}
		}
	}
	slot := c.Slot(t, tag)
	from := c.Owner(t, slot)
	to := c.Nodes[0]
	if to == from {
		to = c.Nodes[1]
	}
	late := newStore(t, c.Client(t))
	noErrors(t, late.SetMany(t.Context(), writesOf([]string{tag + "late"}))) // it knows the old owner
	c.OpenSlot(t, slot, from, to)
	increment("while it is open", "2")
	absent := someKeys(tag+"absent", 5) // these are asked for at the new owner (ASK)
	noErrors(t, s.SetMany(t.Context(), writesOf(absent)))
	c.MoveSlot(t, slot, from, to)
	increment("after the move", "3")
	for _, r := range s.GetMany(t.Context(), absent) {
		wantErr(t, r.Err)
	}
	noErrors(t, late.SetMany(t.Context(), writesOf(keys))) // a pipeline is sent on too
	c.AwaitHealthy(t)
}

// The chain goes on, whichever node appends to it.
func movingLane(t *testing.T, c *redistest.Cluster) {
	s := newStore(t, c.Client(t))
	stream := lane.Of(t.Name(), 0).Stream
	slot := c.Slot(t, stream)
	from := c.Owner(t, slot)
	to := c.Nodes[0]
	if to == from {
		to = c.Nodes[1]
	}
	var want []entry
	announce := func(when string) {
		t.Helper()
		writes := writesOf(someKeys(t.Name()+when, 5))
		noErrors(t, s.SetMany(t.Context(), writes))
		a := news("m")
		must(t, s.Set(t.Context(), t.Name(), value("v"), a))
		writes = append(writes, Write{Announcement: a})
		for _, w := range writes {
			e := entry{id: lane.ID(w.Announcement.ID), text: "m"}
			if len(want) > 0 {
				e.previous = want[len(want)-1].id
			}
			want = append(want, e)
		}
	}
	announce("before")
	c.OpenSlot(t, slot, from, to)
	announce("while it is open")
	c.MoveSlot(t, slot, from, to)
	announce("after the move")
	c.AwaitHealthy(t)
	if got := kept(t, to.Client(t), t.Name(), 0); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the lane holds\n%v, want\n%v", got, want)
	}
}

// What takes something away is done and announced without memory; what needs some is refused, and
// not announced.
func fullCluster(t *testing.T, c *redistest.Cluster) {
	rdb := c.Client(t)
	s := newStore(t, rdb)
	key := t.Name()
	must(t, s.Set(t.Context(), key, value("v"), news("m")))
	limit := func(bytes string) {
		for _, n := range c.Nodes {
			must(t, n.Client(t).ConfigSet(t.Context(), "maxmemory-policy", "noeviction").Err())
			must(t, n.Client(t).ConfigSet(t.Context(), "maxmemory", bytes).Err())
		}
	}
	limit("1")
	wantErr(t, s.Set(t.Context(), key, value("w"), news("m")), ErrRefused)
	if existed, err := s.Delete(t.Context(), key, 0, news("m")); !existed || err != nil {
		t.Errorf("Delete: %v, %v", existed, err)
	}
	must(t, s.RaiseFloor(t.Context(), "cache", news("m")))
	limit("0")
	if n := len(kept(t, rdb, t.Name(), 0)); n != 3 {
		t.Errorf("the lane holds %d", n)
	}
}

func scanAllMasters(t *testing.T, c *redistest.Cluster) {
	rdb := c.Client(t)
	s := newStore(t, rdb, func(o *Options) { o.ScanPage = 50 })
	keys := someKeys("scan:", 1500)
	noErrors(t, s.SetMany(t.Context(), writesOf(keys)))
	noErrors(t, s.SetMany(t.Context(), writesOf(someKeys("scan-neighbour", 10))))
	if n, err := countKeys(t.Context(), s, "scan:", "", 0); n != len(keys) || err != nil {
		t.Errorf("Count: %d, %v", n, err)
	}
	if n, err := countKeys(t.Context(), s, "scan:", "1?", 0); n != 10 || err != nil {
		t.Errorf("Count by pattern: %d, %v", n, err)
	}
	if n, err := clearKeys(t.Context(), s, "scan:", "", 0, 0); n != len(keys) || err != nil {
		t.Errorf("Clear: %d, %v", n, err)
	}
	if n, err := countKeys(t.Context(), s, "scan", "", 0); n != 10 || err != nil {
		t.Errorf("neighbours: %d, %v", n, err)
	}
}

// Both nodes' commands were sent; one node's replies are lost.
func lostClusterReply(t *testing.T, c *redistest.Cluster) {
	p := redistest.NewProxy(t, c.Nodes[0].Addr)
	rdb := c.Client(t, func(o *redis.ClusterOptions) {
		o.MaxRetries = 3
		dial := redis.NewDialer(&redis.Options{DialTimeout: patience})
		o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if addr == c.Nodes[0].Addr {
				addr = p.Addr()
			}
			return dial(ctx, network, addr)
		}
	})
	s := newStore(t, rdb, func(o *Options) {
		// The announcements must not be counted: their lane is on another node.
		for n := 0; c.Owner(t, c.Slot(t, lane.Of(o.Namespace, 0).Stream)) == c.Nodes[0]; n++ {
			o.Namespace = fmt.Sprint("lost", n)
		}
	})
	keys := someKeys("lost", 40)
	noErrors(t, s.SetMany(t.Context(), writesOf(keys)))
	before := calls(t, c.Nodes[0].Client(t), "evalsha")
	var last string
	mine := 0
	for _, k := range keys {
		if c.Owner(t, c.Slot(t, k)) == c.Nodes[0] {
			last = k
			mine++
		}
	}
	p.SwallowNextReplyTo(last + "of " + last)
	for i, err := range s.SetMany(t.Context(), writesOf(keys)) {
		if c.Owner(t, c.Slot(t, keys[i])) == c.Nodes[0] {
			wantErr(t, err, ErrUnavailable, ErrUnknownOutcome)
		} else {
			wantErr(t, err)
		}
	}
	if n := calls(t, c.Nodes[0].Client(t), "evalsha") - before; n != mine {
		t.Errorf("%d scripts ran on the node, want %d", n, mine)
	}
}

// Each key has its own result, and what a dead shard held is not missing.
func deadShard(t *testing.T, c *redistest.Cluster, dies *redistest.Server, stop, start func()) {
	rdb := c.Client(t, func(o *redis.ClusterOptions) {
		o.ReadTimeout, o.DialTimeout, o.MaxRedirects = time.Second, time.Second, 1
	})
	s := newStore(t, rdb, never, func(o *Options) { o.Namespace = laneOn(t, c, c.Nodes[0]) }) // which stays
	unheard := newStore(t, rdb, never, func(o *Options) { o.Namespace = laneOn(t, c, dies) })
	keys := someKeys("dead", 60)
	noErrors(t, s.SetMany(t.Context(), writesOf(keys)))
	dead := make([]bool, len(keys))
	lost, kept := 0, 0
	stop()
	for i, k := range keys {
		if dead[i] = c.Owner(t, c.Slot(t, k)) == dies; dead[i] {
			lost++
		} else {
			kept++
		}
	}
	if lost == 0 || kept == 0 {
		t.Fatalf("%d keys on dead shards, %d on others", lost, kept)
	}
	check := func(what string, i int, err error, unknown bool) {
		t.Helper()
		switch {
		case !dead[i] && err != nil:
			t.Errorf("%s: a key of a live shard: %v", what, err)
		case dead[i] && (!errors.Is(err, ErrUnavailable) || errors.Is(err, ErrNotFound)):
			t.Errorf("%s: a key of a dead shard: %v", what, err)
		case dead[i] && !unknown && errors.Is(err, ErrUnknownOutcome):
			t.Errorf("%s: a read of unknown outcome: %v", what, err)
		}
	}
	for i, r := range s.GetMany(t.Context(), keys) {
		check("GetMany", i, r.Err, false)
	}
	_, errs := existsMany(t.Context(), s, keys, 0)
	for i, err := range errs {
		check("ExistsMany", i, err, false)
	}
	for i, err := range s.SetMany(t.Context(), writesOf(keys)) {
		check("SetMany", i, err, true)
	}
	// What the lane's shard cannot announce is of unknown outcome, wherever the keys are.
	for i, err := range unheard.SetMany(t.Context(), writesOf(keys)) {
		if !errors.Is(err, ErrUnavailable) || !dead[i] && !errors.Is(err, ErrUnknownOutcome) {
			t.Errorf("SetMany without the lane: %v", err)
		}
	}
	existed, errs := s.DeleteMany(t.Context(), deletions(keys, 0))
	for i, err := range errs {
		check("DeleteMany", i, err, true)
		if existed[i] != !dead[i] {
			t.Errorf("DeleteMany: existed %v", existed[i])
		}
	}
	if _, err := s.TagVersions(t.Context(), keys, nil); !errors.Is(err, ErrUnavailable) {
		t.Errorf("TagVersions: %v", err)
	}
	for name, scan := range map[string]func() (int, error){
		"Count": func() (int, error) { return countKeys(t.Context(), s, "dead", "", 0) },
		"Clear": func() (int, error) { return clearKeys(t.Context(), s, "dead", "", 0, 0) },
	} {
		if n, err := scan(); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
	start()
	_ = rdb.Close() // replies that come now are nobody's
}

// laneOn is a namespace whose first lane lies on the given node.
func laneOn(t *testing.T, c *redistest.Cluster, node *redistest.Server) string {
	t.Helper()
	for i := range 1000 {
		namespace := fmt.Sprint(t.Name(), i)
		if c.Owner(t, c.Slot(t, lane.Of(namespace, 0).Stream)) == node {
			return namespace
		}
	}
	t.Fatal("no lane lies there")
	return ""
}
