package topology

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/redistest"
)

// The wrappers that users write.
type (
	embeds       struct{ redis.UniversalClient }
	embedsSingle struct {
		*redis.Client
		name string
	}
	embedsValue   struct{ redis.Client }
	inner         struct{ redis.UniversalClient }
	embedsDeeply  struct{ inner }
	embedsAndMore struct {
		redis.UniversalClient
		fallback redis.UniversalClient
	}
	// delegates has no client that shows: its methods are promoted from an interface of its own.
	methods   interface{ redis.UniversalClient }
	delegates struct {
		methods
		hidden redis.UniversalClient
	}
	itself struct{ redis.UniversalClient }
)

func TestOf_findsClientsInWrappers(t *testing.T) {
	t.Parallel()
	in2 := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", DB: 2})
	other := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", DB: 7})
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}})
	t.Cleanup(func() { _ = errors.Join(in2.Close(), other.Close(), cluster.Close()) })
	loop := &itself{}
	loop.UniversalClient = loop
	for name, c := range map[string]struct {
		rdb  redis.UniversalClient
		db   int
		many bool
	}{
		"a client":                           {in2, 2, false},
		"a Cluster client":                   {cluster, 0, true},
		"an interface in a struct":           {embeds{in2}, 2, false},
		"a pointer to it":                    {&embeds{in2}, 2, false},
		"a wrapper in a wrapper":             {embeds{&embeds{embeds{cluster}}}, 0, true},
		"a client in a struct":               {embedsSingle{in2, "n"}, 2, false},
		"a struct in a struct":               {embedsDeeply{inner{in2}}, 2, false},
		"one embedded, and another one held": {&embedsAndMore{in2, other}, 2, false},
		"an interface of one's own":          {&delegates{in2, other}, 2, false},
		"itself":                             {loop, 0, false},
	} {
		topo, err := Of(c.rdb, "n", time.Second)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if topo.Database() != c.db || topo.Many() != c.many || Database(c.rdb) != c.db || (Cluster(c.rdb) != nil) != c.many {
			t.Errorf("%s: database %d, many servers %t", name, topo.Database(), topo.Many())
		}
		if single := Single(c.rdb); c.db == 2 && single != in2 || c.many && single != nil {
			t.Errorf("%s: the client of one server is %v", name, single)
		}
	}
	value := &embedsValue{*in2}
	if db := Database(value); db != 2 {
		t.Errorf("a client by value: database %d", db)
	}
}

func TestOf_refusesNil(t *testing.T) {
	t.Parallel()
	for name, rdb := range map[string]redis.UniversalClient{
		"nil": nil, "a nil client": (*redis.Client)(nil), "a nil Cluster client": (*redis.ClusterClient)(nil), "a nil wrapper": (*embeds)(nil),
		"a wrapper of nil": embeds{}, "a wrapper of a nil client": embeds{(*redis.Client)(nil)}, "a wrapper of a wrapper of nil": &embeds{&embeds{}},
	} {
		if _, err := Of(rdb, "n", time.Second); !isRefused(err) {
			t.Errorf("%s: %v", name, err)
		}
		if Database(rdb) != 0 || Cluster(rdb) != nil || Single(rdb) != nil {
			t.Errorf("%s shows something", name)
		}
	}
}

func isRefused(err error) bool {
	var refused *RefusedError
	return errors.As(err, &refused) && refused.Reason != ""
}

func of(t *testing.T, rdb redis.UniversalClient, fresh time.Duration) *Topology {
	t.Helper()
	topo, err := Of(rdb, strings.ReplaceAll(t.Name(), "/", "-"), fresh)
	if err != nil {
		t.Fatal(err)
	}
	return topo
}

func TestEnsure_asksOnceInASpan(t *testing.T) {
	t.Parallel()
	asked := make(counter)
	rdb := shared.Client(t)
	rdb.AddHook(asked)
	topo := of(t, rdb, time.Hour)
	for range 10 {
		if err := errors.Join(topo.Place(t.Context()), topo.Ensure(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	if asked["eval"] != 1 {
		t.Errorf("asked %d times", asked["eval"])
	}
	// A refusal ends the proof, another error does not.
	topo.Heard(errors.New("i/o timeout"))
	topo.Heard(redis.Nil)
	topo.Heard(nil)
	if err := topo.Ensure(t.Context()); err != nil || asked["eval"] != 1 {
		t.Errorf("asked %d times, %v", asked["eval"], err)
	}
	topo.Heard(errors.New("READONLY You can't write against a read only replica"))
	if err := topo.Ensure(t.Context()); err != nil || asked["eval"] != 2 {
		t.Errorf("asked %d times, %v", asked["eval"], err)
	}
	// So does a proof that is as old as it may be, and a change is as good as a question.
	short := of(t, rdb, time.Nanosecond)
	for range 3 {
		if err := short.Ensure(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if asked["eval"] != 5 {
		t.Errorf("asked %d times", asked["eval"])
	}
	proved := of(t, rdb, time.Hour)
	proved.Proved(time.Now())
	if err := proved.Ensure(t.Context()); err != nil || asked["eval"] != 5 {
		t.Errorf("asked %d times, %v", asked["eval"], err)
	}
	if n := shared.Client(t).Exists(t.Context(), lane.Of(strings.ReplaceAll(t.Name(), "/", "-"), 0).Probe).Val(); n != 0 {
		t.Error("the probe was left behind")
	}
}

// counter counts commands by name. It is for one goroutine.
type counter map[string]int

func (c counter) DialHook(next redis.DialHook) redis.DialHook { return next }
func (c counter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c[cmd.Name()]++
		return next(ctx, cmd)
	}
}

func (c counter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func TestEnsure_findsTheDatabaseWhereTheTypeDoesNotTell(t *testing.T) {
	t.Parallel()
	selects := func(db int) func(*redis.Options) {
		return func(o *redis.Options) {
			o.OnConnect = func(ctx context.Context, c *redis.Conn) error { return c.Select(ctx, db).Err() }
		}
	}
	if err := of(t, shared.Client(t, selects(0)), time.Hour).Ensure(t.Context()); err != nil {
		t.Errorf("database 0: %v", err)
	}
	for _, ask := range []func(*Topology, context.Context) error{(*Topology).Ensure, (*Topology).Place} {
		err := ask(of(t, embeds{shared.Client(t, selects(15))}, time.Hour), t.Context())
		if !isRefused(err) || !strings.Contains(err.Error(), "database 15") {
			t.Errorf("database 15: %v", err)
		}
	}
	// A type that shows no client at all works in database 0, and nowhere else.
	for db, refused := range map[int]bool{0: false, 4: true} {
		rdb := shared.Client(t, func(o *redis.Options) { o.DB = db })
		topo := of(t, assembled{commands{rdb}, rest{rdb}}, time.Hour)
		if err := topo.Ensure(t.Context()); isRefused(err) != refused || !refused && err != nil || topo.Database() != 0 {
			t.Errorf("database %d: taken for %d, %v", db, topo.Database(), err)
		}
	}
}

// assembled has the methods of a client, and no field that is one.
type (
	assembled struct {
		commands
		rest
	}
	commands struct{ redis.Cmdable }
	rest     struct{ others }
	others   interface {
		AddHook(hook redis.Hook)
		Watch(ctx context.Context, fn func(*redis.Tx) error, keys ...string) error
		Do(ctx context.Context, args ...any) *redis.Cmd
		Process(ctx context.Context, cmd redis.Cmder) error
		AutoPipeline() (*redis.AutoPipeliner, error)
		AutoPipelineWithOptions(o *redis.AutoPipelineOptions) (*redis.AutoPipeliner, error)
		AsyncAutoPipeline() (*redis.AutoPipeliner, error)
		AsyncAutoPipelineWithOptions(o *redis.AutoPipelineOptions) (*redis.AutoPipeliner, error)
		Subscribe(ctx context.Context, channels ...string) *redis.PubSub
		PSubscribe(ctx context.Context, channels ...string) *redis.PubSub
		SSubscribe(ctx context.Context, channels ...string) *redis.PubSub
		Close() error
		PoolStats() *redis.PoolStats
	}
)

func TestEnsure_findsAReplica(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	rdb := s.Client(t)
	topo := of(t, rdb, time.Nanosecond)
	replica := func(host, port string) {
		t.Helper()
		if err := rdb.Do(t.Context(), "REPLICAOF", host, port).Err(); err != nil {
			t.Fatal(err)
		}
	}
	replica("127.0.0.1", "1")
	var not *NotMasterError
	if err := topo.Ensure(t.Context()); !errors.As(err, &not) || !not.Never {
		t.Errorf("a replica: %v", err)
	}
	replica("NO", "ONE")
	if err := topo.Ensure(t.Context()); err != nil {
		t.Errorf("a master: %v", err)
	}
	replica("127.0.0.1", "1")
	if err := topo.Ensure(t.Context()); !errors.As(err, &not) || not.Never {
		t.Errorf("a replica that was a master: %v", err)
	}
	if err := topo.Place(t.Context()); err != nil {
		t.Errorf("the database is known, and a change says the rest itself: %v", err)
	}
}

func TestEnsure_findsANodeOfACluster(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 2)
	for _, rdb := range []redis.UniversalClient{c.Nodes[0].Client(t), embeds{c.Nodes[1].Client(t)}} {
		topo := of(t, rdb, time.Hour)
		for range 2 { // it stays so
			if err := topo.Ensure(t.Context()); !isRefused(err) {
				t.Errorf("%v", err)
			}
		}
	}
	topo := of(t, embeds{c.Client(t)}, time.Hour)
	if err := errors.Join(topo.Ensure(t.Context()), topo.Place(t.Context())); err != nil {
		t.Error(err)
	}
	key := lane.Of("n", 0).Stream
	node, err := topo.Node(t.Context(), key)
	if want := c.Owner(t, c.Slot(t, key)).Addr; node != want || err != nil {
		t.Errorf("node %s, %v, want %s", node, err, want)
	}
	if sharded, err := topo.Sharded(t.Context(), key); !sharded || err != nil {
		t.Errorf("sharded %t, %v", sharded, err)
	}
}

// A server does not tell a user that may not run scripts, or not change the key that is asked
// about: it is used without a proof. A full server is a master.
func TestEnsure_passesWhenAServerMayNotTell(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t,
		redistest.WithACLUser("noeval", "pw", "~*", "+@all", "-eval"),
		redistest.WithACLUser("nokey", "pw", "~other:*", "+@all"),
		redistest.WithACLUser("nopersist", "pw", "~*", "+@all", "-persist"))
	for _, user := range []string{"noeval", "nokey", "nopersist"} {
		if err := of(t, s.ClientAs(t, user, "pw"), time.Hour).Ensure(t.Context()); err != nil {
			t.Errorf("%s: %v", user, err)
		}
	}
	if err := s.Client(t).ConfigSet(t.Context(), "min-replicas-to-write", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if err := of(t, s.Client(t), time.Hour).Ensure(t.Context()); err != nil {
		t.Errorf("too few replicas: %v", err)
	}
}

func TestEnsure_doesNotWaitForAnothersQuestion(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	topo := of(t, s.Client(t, func(o *redis.Options) { o.ContextTimeoutEnabled = true }), time.Hour)
	s.Pause()
	first, cancel := context.WithCancel(t.Context())
	asking := make(chan error, 1)
	go func() { asking <- topo.Ensure(first) }()
	redistest.Eventually(t, time.Minute, func() error {
		topo.mu.Lock()
		defer topo.mu.Unlock()
		if topo.flight == nil {
			return errors.New("nobody asks")
		}
		return nil
	})
	impatient, end := context.WithCancel(t.Context())
	end()
	if err := topo.Ensure(impatient); !errors.Is(err, context.Canceled) {
		t.Errorf("who does not wait: %v", err)
	}
	waiting := make(chan error, 1)
	go func() { waiting <- topo.Ensure(t.Context()) }()
	cancel() // the answer to the first may never be taken
	s.Resume()
	if err := <-waiting; err != nil {
		t.Errorf("who waits: %v", err)
	}
	if err := <-asking; err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("who asked: %v", err)
	}
}
