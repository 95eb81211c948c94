package tiered

import (
	"os"
	"strconv"
	"strings"
	"time"
)

// ConfigFromEnv gives DefaultConfig with what the environment sets: prefix_REDIS_URL first, then prefix_ENABLED,
// _NAMESPACE, _DEFAULT_TTL, _MAX_MEMORY_SIZE, _MAX_STALENESS, _REDIS_HOST, _REDIS_PORT, _REDIS_DB, _REDIS_USERNAME,
// _REDIS_PASSWORD, _REDIS_SSL, _SENTINEL_MASTER, _SENTINEL_ADDRS, _SENTINEL_USERNAME, _SENTINEL_PASSWORD,
// _CLUSTER_ADDRS, _CONNECTION_POOL_SIZE, _SOCKET_TIMEOUT and _SOCKET_CONNECT_TIMEOUT. With an empty prefix the names
// have no leading underscore. Durations are like 5s, or numbers of seconds; addresses are separated by commas. A
// variable that is empty counts as not set. Every value that does not parse is reported, by variable; if all do,
// Config.Validate checks their ranges.
func ConfigFromEnv(prefix string) (Config, error) {
	c := DefaultConfig()
	e := &environment{prefix: prefix}
	if text, name, ok := e.lookup("REDIS_URL"); ok {
		if err := c.setURL(name, text); err != nil {
			e.faults = append(e.faults, err)
		}
	}
	e.boolean("ENABLED", &c.Enabled)
	e.text("NAMESPACE", &c.Namespace)
	e.duration("DEFAULT_TTL", &c.DefaultTTL)
	e.integer("MAX_MEMORY_SIZE", func(n int64) { c.MaxMemorySize = n })
	e.duration("MAX_STALENESS", &c.MaxStaleness)
	e.text("REDIS_HOST", &c.RedisHost)
	e.integer("REDIS_PORT", func(n int64) { c.RedisPort = int(n) })
	e.integer("REDIS_DB", func(n int64) { c.RedisDB = int(n) })
	e.text("REDIS_USERNAME", &c.RedisUsername)
	e.text("REDIS_PASSWORD", &c.RedisPassword)
	e.boolean("REDIS_SSL", &c.RedisSSL)
	e.text("SENTINEL_MASTER", &c.SentinelMaster)
	e.list("SENTINEL_ADDRS", &c.SentinelAddrs)
	e.text("SENTINEL_USERNAME", &c.SentinelUsername)
	e.text("SENTINEL_PASSWORD", &c.SentinelPassword)
	e.list("CLUSTER_ADDRS", &c.ClusterAddrs)
	e.integer("CONNECTION_POOL_SIZE", func(n int64) { c.ConnectionPoolSize = int(n) })
	e.duration("SOCKET_TIMEOUT", &c.SocketTimeout)
	e.duration("SOCKET_CONNECT_TIMEOUT", &c.SocketConnectTimeout)
	if len(e.faults) == 0 {
		return c, c.Validate()
	}
	return c, e.faults.err()
}

type environment struct {
	prefix string
	faults faults
}

func (e *environment) lookup(name string) (value, variable string, ok bool) {
	if e.prefix != "" {
		name = strings.TrimSuffix(e.prefix, "_") + "_" + name
	}
	value = os.Getenv(name)
	return value, name, value != ""
}

func (e *environment) text(name string, into *string) {
	if v, _, ok := e.lookup(name); ok {
		*into = v
	}
}

func (e *environment) list(name string, into *[]string) {
	v, _, ok := e.lookup(name)
	if !ok {
		return
	}
	*into = nil
	for _, part := range strings.Split(v, ",") {
		if part = strings.TrimSpace(part); part != "" {
			*into = append(*into, part)
		}
	}
}

func (e *environment) boolean(name string, into *bool) {
	if v, variable, ok := e.lookup(name); ok {
		b, err := strconv.ParseBool(strings.ToLower(v))
		e.faults.check(err == nil, variable, "must be true or false")
		if err == nil {
			*into = b
		}
	}
}

func (e *environment) integer(name string, set func(int64)) {
	if v, variable, ok := e.lookup(name); ok {
		n, err := strconv.ParseInt(v, 10, 64)
		e.faults.check(err == nil, variable, "must be an integer")
		if err == nil {
			set(n)
		}
	}
}

func (e *environment) duration(name string, into *time.Duration) {
	if v, variable, ok := e.lookup(name); ok {
		d, err := parseDuration(v)
		e.faults.check(err == nil, variable, "must be a duration such as 5s, or a number of seconds")
		if err == nil {
			*into = d
		}
	}
}
