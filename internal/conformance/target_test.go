package conformance

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/redistest"
)

// aclRules is all that the library asks of Redis, where <ns> is the namespace: two patterns of keys, for entries and for
// lanes, one of channels, and these commands, most of them called by scripts. HELLO and AUTH need no rule. TestACL_rulesAreEnoughAndEachIsNeeded takes each away
// and sees something fail; go-redis's CLIENT SETINFO may be refused.
//
// Clear and Count need SCAN, which gives the names of all keys to whoever may call it: Redis has no rule for that. A
// service that uses neither can do without. On a Cluster go-redis needs +cluster|slots, too.
const aclRules = `~<ns>:* ~{<ns>:* resetchannels &{<ns>:* -@all +subscribe +publish ` +
	`+evalsha +eval +get +mget +getrange +set +setrange +incrby +unlink +persist +pexpire +pttl +scan ` +
	`+xadd +xrange +xrevrange +xlen +hget +hset +hgetall +time`

// aclAboveZero is what a database above 0 needs besides: every connection begins with SELECT.
const aclAboveZero = "+select"

// securedDatabase is the database of the secured deployment.
const securedDatabase = 3

const (
	adminPassword = "admin's own"
	userPassword  = "user's own"
)

// target is one deployment of a server.
type target struct {
	name    string
	cluster bool
	start   func() *deployment
}

// deployment is a target that runs.
type deployment struct {
	raw     redis.UniversalClient // may do anything
	connect func(h redistest.Host, namespace string) redis.UniversalClient
	// connectWith gives the namespace's user these rules, and a client of this database; nil where there are no users.
	connectWith func(h redistest.Host, namespace string, db int, rules []string) redis.UniversalClient
	failover    func(h redistest.Host) // nil where there is none
	// forget removes what a row has left, where the number of keys makes every command slower; nil elsewhere.
	forget func(prefix string)
}

var (
	standalone = target{name: "redis", start: sync.OnceValue(func() *deployment {
		return plain(redistest.Start(host))
	})}
	valkey = target{name: "valkey", start: sync.OnceValue(func() *deployment {
		return plain(redistest.StartValkey(host))
	})}
	secured  = target{name: "tls-acl", start: sync.OnceValue(startSecured)}
	cluster  = target{name: "cluster", cluster: true, start: sync.OnceValue(func() *deployment { return startCluster() })}
	sentinel = target{name: "sentinel", start: sync.OnceValue(startSentinel)}
	embedded = target{name: "miniredis", start: sync.OnceValue(func() *deployment {
		m := redistest.Miniredis(host)
		return &deployment{
			raw:     m.Client(host, patient),
			connect: func(h redistest.Host, _ string) redis.UniversalClient { return m.Client(h, patient) },
			forget: func(prefix string) {
				for _, k := range m.Redis.Keys() {
					if strings.HasPrefix(k, prefix) {
						m.Redis.Del(k)
					}
				}
			},
		}
	})}
)

// targets are those that this machine can run, and a server and a Cluster of each version that it was given.
var targets = sync.OnceValue(func() []*target {
	all := []*target{&sentinel, &cluster, &secured, &standalone, &embedded}
	if redistest.ValkeyInstalled() {
		all = append(all, &valkey)
	}
	given, err := redistest.GivenServers()
	if err != nil {
		host.Fatalf("%v", err)
	}
	for _, g := range given {
		all = append(all,
			&target{name: g.Name, start: sync.OnceValue(func() *deployment { return plain(redistest.Start(host, redistest.WithGiven(g))) })},
			&target{name: g.Name + "-cluster", cluster: true, start: sync.OnceValue(func() *deployment { return startCluster(redistest.WithGiven(g)) })})
	}
	return all
})

func plain(s *redistest.Server) *deployment {
	return &deployment{
		raw:     s.Client(host, patient),
		connect: func(h redistest.Host, _ string) redis.UniversalClient { return wrapSome(s.Client(h, patient)) },
	}
}

// wrapper is a client whose type shows nothing of what it wraps.
type wrapper struct{ redis.UniversalClient }

var connections atomic.Int64

// wrapSome wraps every second client: fleets work whose instances have their clients in types of their own.
func wrapSome(rdb redis.UniversalClient) redis.UniversalClient {
	if connections.Add(1)%2 == 0 {
		return wrapper{rdb}
	}
	return rdb
}

func startCluster(opts ...redistest.Option) *deployment {
	c := redistest.StartCluster(host, 3, opts...)
	calm := func(o *redis.ClusterOptions) {
		o.ReadTimeout, o.WriteTimeout, o.PoolTimeout, o.PoolSize = patience, patience, patience, poolSize
	}
	return &deployment{
		raw:     c.Client(host, calm),
		connect: func(h redistest.Host, _ string) redis.UniversalClient { return wrapSome(c.Client(h, calm)) },
	}
}

func startSentinel() *deployment {
	s := redistest.StartSentinel(host)
	calm := func(o *redis.FailoverOptions) {
		o.ReadTimeout, o.WriteTimeout, o.PoolTimeout, o.PoolSize = patience, patience, patience, poolSize
	}
	return &deployment{
		raw:      s.Client(host, calm),
		connect:  func(h redistest.Host, _ string) redis.UniversalClient { return s.Client(h, calm) },
		failover: s.Failover,
	}
}

// startSecured gives each namespace a user of its own, which may do what aclRules and aclAboveZero
// say and nothing else, in a database above 0.
func startSecured() *deployment {
	s := redistest.Start(host, redistest.WithTLS(), redistest.WithPassword(adminPassword))
	in := func(db int) func(*redis.Options) { return func(o *redis.Options) { o.DB = db } }
	admin := s.Client(host, patient, in(securedDatabase))
	connectWith := func(h redistest.Host, namespace string, db int, rules []string) redis.UniversalClient {
		allow(h, admin, namespace, rules)
		return wrapSome(s.Client(h, patient, in(db), func(o *redis.Options) { o.Username, o.Password = namespace, userPassword }))
	}
	return &deployment{raw: admin, connectWith: connectWith, connect: func(h redistest.Host, namespace string) redis.UniversalClient {
		return connectWith(h, namespace, securedDatabase, rulesFor(namespace, securedDatabase))
	}}
}

// rulesFor gives the rules of a namespace's user in one of the numbered databases.
func rulesFor(namespace string, db int) []string {
	rules := aclRules
	if db > 0 {
		rules += " " + aclAboveZero
	}
	return strings.Fields(strings.ReplaceAll(rules, "<ns>", namespace))
}

// allow makes a user with these rules and no others.
func allow(h redistest.Host, admin *redis.Client, user string, rules []string) {
	h.Helper()
	args := []any{"ACL", "SETUSER", user, "reset", "on", ">" + userPassword}
	for _, r := range rules {
		args = append(args, r)
	}
	if err := admin.Do(context.Background(), args...).Err(); err != nil {
		h.Fatalf("ACL user %s: %v", user, err)
	}
}

const (
	// patience is for what must happen, on a machine that is busy with other things.
	patience = 30 * time.Second
	poolSize = 64
)

func patient(o *redis.Options) {
	o.ReadTimeout, o.WriteTimeout, o.PoolTimeout, o.PoolSize = patience, patience, patience, poolSize
}
