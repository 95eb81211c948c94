// Package topology says what a Redis client leads to: one server or the many of a Cluster, which of the numbered
// databases, whether its servers take changes, and by which kind of pub/sub a lane speaks.
//
// It is decided here and nowhere else. What the client's Go type tells is known at once; what only
// the server can tell is asked at the first use, by one script that needs no permission beyond
// those in docs/coherence.md. The calls to Redis and the receivers share one Topology, so that they
// cannot disagree.
package topology

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/patient"
)

// RefusedError is why a client cannot be used. Its text names no address and no credential.
type RefusedError struct{ Reason string }

func (r *RefusedError) Error() string { return r.Reason }

// Masters is what a client of several masters offers.
type Masters interface {
	ForEachMaster(ctx context.Context, fn func(ctx context.Context, master *redis.Client) error) error
	MasterForKey(ctx context.Context, key string) (*redis.Client, error)
}

// Topology is what is known of one client. It may be used by any number of goroutines.
type Topology struct {
	rdb     redis.UniversalClient // as it was given: what its methods do besides stays in effect
	cluster *redis.ClusterClient  // nil where one server holds all keys
	single  *redis.Client         // nil where the type does not show one
	db      int
	asks    bool // the server has to be asked
	keys    []string
	fresh   time.Duration
	began   time.Time

	// proved is when the newest command was sent, counted from began, that showed a server which takes changes; 0: none is
	// known.
	proved atomic.Int64
	ever   atomic.Bool // there was one
	placed atomic.Bool // the database is known to be db

	mu     sync.Mutex
	flight *flight // the question that is under way
}

// flight is a question to the server that several callers wait for.
type flight struct {
	done chan struct{}
	gone <-chan struct{} // closed when its caller has given it up: an answer may never come
	err  error
	left bool // its caller left before the answer came
}

// leastPatience is the least time that a client which never gives up a command waits for the answer
// to a probe. A caller that waited for a probe on a connection that died silently would never ask again.
const leastPatience = time.Second

// Of finds out what rdb's type tells. It reports a *RefusedError for a client that cannot be made
// to work: one that reads from replicas or from a cache of its own, or that spreads keys without
// slots. It does not dial. The proof that a server takes changes is worth something for as long as
// fresh.
func Of(rdb redis.UniversalClient, namespace string, fresh time.Duration) (*Topology, error) {
	found, err := unwrap(rdb)
	if err != nil {
		return nil, err
	}
	if err := found.check(); err != nil {
		return nil, err
	}
	t := &Topology{
		rdb: patient.Bound(rdb, max(fresh, leastPatience)), cluster: found.cluster, single: found.single, db: found.database(), asks: found.asks(),
		fresh: fresh, began: time.Now(),
	}
	t.placed.Store(found.placed())
	t.keys = []string{lane.Of(namespace, 0).Count, lane.Of(namespace, 0).Probe}
	if t.cluster == nil {
		// Three keys of a Cluster lie in three slots, but for one namespace in 2^28.
		for _, name := range []string{"a", "b"} {
			t.keys = append(t.keys, namespace+"::slot:"+name)
		}
	}
	return t, nil
}

// Database is the number of the database that a client's type shows; 0 where it shows none, and on a Cluster, which has
// only one.
func Database(rdb redis.UniversalClient) int {
	found, err := unwrap(rdb)
	if err != nil {
		return 0
	}
	return found.database()
}

// Cluster returns the Cluster client that rdb is or wraps, and nil where it is another client.
func Cluster(rdb redis.UniversalClient) *redis.ClusterClient {
	found, err := unwrap(rdb)
	if err != nil {
		return nil
	}
	return found.cluster
}

// Single returns the client of one server, or of Sentinel, that rdb is or wraps, and nil where it is another client.
func Single(rdb redis.UniversalClient) *redis.Client {
	found, err := unwrap(rdb)
	if err != nil {
		return nil
	}
	return found.single
}

// Many reports whether keys are spread over several servers by their slots, so that one script cannot touch any two.
func (t *Topology) Many() bool { return t.cluster != nil }

// Cluster is the client of the Cluster, or nil.
func (t *Topology) Cluster() *redis.ClusterClient { return t.cluster }

// Masters gives access to every master; nil where one server holds all keys.
func (t *Topology) Masters() Masters {
	if t.cluster == nil {
		return nil
	}
	return guardedMasters{t.cluster}
}

// Lane returns the names of a namespace's lane in the client's database.
func (t *Topology) Lane(namespace string, index int) lane.Names {
	return lane.Of(namespace, index).In(t.db)
}

// Database is the number of the database.
func (t *Topology) Database() int { return t.db }

// Node is the address of the master that holds key, as the client knows the Cluster; "" where one
// server holds all keys. The client may have to ask for the Cluster's layout first, within ctx.
func (t *Topology) Node(ctx context.Context, key string) (string, error) {
	if t.cluster == nil {
		return "", nil
	}
	node, err := t.Masters().MasterForKey(ctx, key)
	if err != nil {
		return "", err
	}
	return node.Options().Addr, nil
}

// Proved notes that a command which was sent at at was carried out by a server that takes changes.
func (t *Topology) Proved(at time.Time) {
	if !t.asks {
		return
	}
	t.ever.Store(true)
	for {
		old, now := t.proved.Load(), int64(at.Sub(t.began))+1
		if now <= old || t.proved.CompareAndSwap(old, now) {
			return
		}
	}
}

// Heard takes the error of a command: one that a replica refused ends the proof.
func (t *Topology) Heard(err error) {
	if err != nil && t.asks && !errors.Is(err, redis.Nil) && saysReplica(err) {
		t.proved.Store(0)
	}
}

func (t *Topology) settled() bool {
	if !t.asks {
		return true
	}
	at := t.proved.Load()
	return at != 0 && t.placed.Load() && int64(time.Since(t.began))+1-at < int64(t.fresh)
}

// Place reports why nothing must be written by the client: its connections use another database than its type shows.
// It asks only until that is known. All else, a server tells when it is asked for a change.
func (t *Topology) Place(ctx context.Context) error {
	if !t.asks || t.placed.Load() {
		return nil
	}
	return t.Ensure(ctx)
}

// Ensure reports why the server behind the client must not be used, and asks it if the last proof is too old: a *RefusedError
// where it is another than the client's type promised, or a *NotMasterError where it takes no changes; else what kept it from
// being asked, in which case nothing was changed. One caller asks for all who wait.
func (t *Topology) Ensure(ctx context.Context) error {
	for !t.settled() {
		t.mu.Lock()
		f, mine := t.flight, false
		if f == nil {
			f, mine = &flight{done: make(chan struct{}), gone: ctx.Done()}, true
			t.flight = f
		}
		t.mu.Unlock()
		if mine {
			return t.lead(ctx, f)
		}
		select {
		case <-f.done:
			if f.err != nil && !f.left {
				return f.err
			}
		case <-f.gone:
			t.forget(f)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (t *Topology) lead(ctx context.Context, f *flight) error {
	f.left = true // unless it ends in the usual way: a hook of the client's may panic
	defer func() {
		t.forget(f)
		close(f.done)
	}()
	f.err = t.probe(ctx)
	f.left = ctx.Err() != nil
	return f.err
}

// forget lets the next caller ask.
func (t *Topology) forget(f *flight) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.flight == f {
		t.flight = nil
	}
}

// NotMasterError reports that the client's server takes no changes, because it is a replica. What a
// replica holds may be older than what was acknowledged, so nothing is read from it either.
type NotMasterError struct {
	Err   error // the server's words
	Never bool  // no server behind this client has ever taken a change
}

func (e *NotMasterError) Error() string { return NotMasterReason + ": " + e.Err.Error() }

// Unwrap gives the server's reply.
func (e *NotMasterError) Unwrap() error { return e.Err }

// NotMasterReason is what is wrong with a client whose server has never taken a change.
const NotMasterReason = "its server is a replica, which may lag: reads and changes need the master (leave ReplicaOnly off)"

const source = `
-- Shows whether the server takes changes, and in which database. KEYS: the lane's count, a key of the probe's own, keys of
-- other slots where there should be no slots. ARGV: a nonce, '' where the database is known.
redis.call('PERSIST', KEYS[1])
if ARGV[1] == '' then return '' end
redis.call('SET', KEYS[2], ARGV[1], 'PX', 1000)
for db = 0, 16383 do
  local selected = redis.pcall('SELECT', db)
  if type(selected) == 'table' and selected.err then return '' end
  if redis.call('GET', KEYS[2]) == ARGV[1] then
    redis.call('UNLINK', KEYS[2])
    return tostring(db)
  end
end
return ''`

// once is a command that go-redis does not repeat: a replica's refusal is an answer.
type once struct{ *redis.Cmd }

// NoRetry is what go-redis asks before it repeats a command.
func (once) NoRetry() bool { return true }

func (t *Topology) eval(ctx context.Context, source string, keys []string, args ...any) (any, error) {
	all := append(make([]any, 0, 3+len(keys)+len(args)), "eval", source, len(keys))
	for _, k := range keys {
		all = append(all, k)
	}
	c := redis.NewCmd(ctx, append(all, args...)...)
	c.SetFirstKeyPos(3)
	_ = t.rdb.Process(ctx, once{c}) // the command keeps its error
	return c.Result()
}

func (t *Topology) probe(ctx context.Context) error {
	nonce := ""
	if !t.placed.Load() {
		nonce = strconv.FormatUint(rand.Uint64(), 16)
	}
	sent := time.Now()
	reply, err := t.eval(ctx, source, t.keys, nonce)
	switch {
	case err == nil:
	case saysReplica(err):
		t.proved.Store(0)
		return &NotMasterError{Err: err, Never: !t.ever.Load()}
	case t.cluster == nil && (says(err, "CROSSSLOT ") || says(err, "MOVED ")):
		return &RefusedError{"its server is a node of a Redis Cluster; use a client that redis.NewClusterClient made, or a type that embeds one"}
	case says(err, "NOREPLICAS ") || says(err, "MISCONF "):
		// A master says so, and refuses changes only.
		t.Proved(sent)
		if nonce == "" {
			return nil
		}
		return err // where the database is not known, nothing can be done
	case denied(err):
		// Its user may not run scripts, or not change this key. Such a one may read, since nothing shows that it must not.
		reply = ""
	default:
		return err
	}
	if db, _ := reply.(string); db != "" && db != strconv.Itoa(t.db) {
		return &RefusedError{"its connections use database " + db + ", where its type shows database " + strconv.Itoa(t.db) +
			"; set redis.Options.DB or FailoverOptions.DB, of a client that is not a Cluster client"}
	}
	t.placed.Store(true)
	t.Proved(sent)
	return nil
}

// denied reports whether an ACL kept the server from telling.
func denied(err error) bool {
	for _, words := range []string{"NOPERM ", "The user executing the script", "ACL failure in script"} {
		if says(err, words) {
			return true
		}
	}
	return false
}

// saysReplica reports whether an error is a replica's refusal of a change.
func saysReplica(err error) bool { return says(err, "READONLY ") }

// says looks for a code in a reply. Redis 6 puts what a script's command reported into words of its own.
func says(err error, code string) bool { return strings.Contains(err.Error(), code) }

const shardedSource = `
local reply = redis.pcall('SPUBLISH') -- one argument too few: it is known, or it is not
if type(reply) == 'table' and reply.err and string.find(reply.err, 'nknown') then return 0 end
return 1`

// Sharded reports by which pub/sub the node of a lane, of which key is one, publishes: a Cluster older than Redis 7 has
// no sharded pub/sub. The scripts that publish decide by the same evidence, on the same server, so this is asked for
// each subscription: a server may be replaced by a newer one.
func (t *Topology) Sharded(ctx context.Context, key string) (bool, error) {
	if t.cluster == nil {
		return false, nil
	}
	reply, err := t.eval(ctx, shardedSource, []string{key})
	if err != nil {
		return false, err
	}
	return reply != int64(0), nil
}
