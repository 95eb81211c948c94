package tiered

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/local"
)

// Config is the plain form of a client's settings, for files, flags and environments. Begin with
// DefaultConfig. String, LogValue, JSON and errors never show a password.
type Config struct {
	Enabled       bool          // false makes a client that stores nothing; default true
	Namespace     string        // default "doppio"
	DefaultTTL    time.Duration // of caches that set none; default 3600 s
	MaxMemorySize int64         // entries in the local tier, not bytes; default 1000
	MaxStaleness  time.Duration // see Options.MaxStaleness; default 2 s

	RedisHost     string // default localhost
	RedisPort     int    // default 6379
	RedisDB       int    // default 0; a Cluster has no other
	RedisUsername string // default none
	RedisPassword string // default none
	RedisSSL      bool   // TLS, with the system's roots; default false

	SentinelMaster   string   // name of the master; with it, SentinelAddrs are asked instead of RedisHost
	SentinelAddrs    []string // host:port
	SentinelUsername string
	SentinelPassword string
	ClusterAddrs     []string // host:port of some nodes; with them RedisHost is not used

	ConnectionPoolSize   int           // default 20
	SocketTimeout        time.Duration // of a read or a write; default 5 s
	SocketConnectTimeout time.Duration // default 5 s
}

// DefaultConfig gives the defaults.
func DefaultConfig() Config {
	return Config{
		Enabled: true, Namespace: DefaultNamespace, DefaultTTL: DefaultTTL, MaxMemorySize: 1000, MaxStaleness: DefaultMaxStaleness,
		RedisHost: "localhost", RedisPort: 6379,
		ConnectionPoolSize: 20, SocketTimeout: 5 * time.Second, SocketConnectTimeout: 5 * time.Second,
	}
}

// Validate reports every fault, each an *OptionError.
func (c Config) Validate() error {
	var f faults
	f.name("Namespace", c.Namespace)
	f.check(c.DefaultTTL > 0, "DefaultTTL", "is %v, must be positive", c.DefaultTTL)
	f.check(c.MaxMemorySize > 0, "MaxMemorySize", "is %d, must be at least 1 entry", c.MaxMemorySize)
	f.check(c.MaxStaleness >= MinMaxStaleness && c.MaxStaleness <= MaxMaxStaleness, "MaxStaleness", "is %v, must be from %v to %v",
		c.MaxStaleness, MinMaxStaleness, MaxMaxStaleness)
	f.check(c.RedisHost != "", "RedisHost", "must not be empty")
	f.check(c.RedisPort > 0 && c.RedisPort < 1<<16, "RedisPort", "is %d, must be from 1 to 65535", c.RedisPort)
	f.check(c.RedisDB >= 0, "RedisDB", "is %d, must not be negative", c.RedisDB)
	f.check(c.RedisUsername == "" || c.RedisPassword != "", "RedisPassword", "must not be empty when RedisUsername is set")
	f.check(c.ConnectionPoolSize > 0, "ConnectionPoolSize", "is %d, must be at least 1", c.ConnectionPoolSize)
	f.check(c.SocketTimeout > 0, "SocketTimeout", "is %v, must be positive", c.SocketTimeout)
	f.check(c.SocketConnectTimeout > 0, "SocketConnectTimeout", "is %v, must be positive", c.SocketConnectTimeout)
	f.check((c.SentinelMaster == "") == (len(c.SentinelAddrs) == 0), "SentinelMaster", "and SentinelAddrs go together")
	f.check(c.SentinelMaster == "" || len(c.ClusterAddrs) == 0, "ClusterAddrs", "excludes SentinelMaster")
	f.check(len(c.ClusterAddrs) == 0 || c.RedisDB == 0, "RedisDB", "is %d, a Cluster has only 0", c.RedisDB)
	for _, list := range []struct {
		field string
		addrs []string
	}{{"SentinelAddrs", c.SentinelAddrs}, {"ClusterAddrs", c.ClusterAddrs}} {
		for i, a := range list.addrs {
			_, _, err := net.SplitHostPort(a)
			f.check(err == nil, fmt.Sprintf("%s[%d]", list.field, i), "must be host:port")
		}
	}
	return f.err()
}

// Open makes a client that builds and owns its Redis client. It does not dial. cfg should have
// begun as DefaultConfig: a zero Config has nine faults. Where New's Options are needed too, use
// NewRedis and New.
func Open(cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	opts := Options{
		Namespace: cfg.Namespace, Disabled: !cfg.Enabled, MaxStaleness: cfg.MaxStaleness,
		Local: local.Options{MaxEntries: cfg.MaxMemorySize},
	}
	var rdb redis.UniversalClient
	if cfg.Enabled {
		rdb = cfg.newRedis()
	}
	c, err := New(rdb, opts)
	if err != nil {
		if rdb != nil {
			err = errors.Join(err, rdb.Close())
		}
		return nil, err
	}
	c.owned, c.defaultTTL = rdb, cfg.DefaultTTL
	return c, nil
}

// NewRedis makes the Redis client that the config describes: standalone, Sentinel or Cluster. It
// does not dial. Deadlines are honoured, and a refused connection is reported at once instead of
// after go-redis's 1.7 s of retries.
func (c Config) NewRedis() (redis.UniversalClient, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return c.newRedis(), nil
}

func (c Config) newRedis() redis.UniversalClient {
	u := &redis.UniversalOptions{
		Addrs: []string{net.JoinHostPort(c.RedisHost, strconv.Itoa(c.RedisPort))}, DB: c.RedisDB,
		Username: c.RedisUsername, Password: c.RedisPassword,
		PoolSize: c.ConnectionPoolSize, ReadTimeout: c.SocketTimeout, WriteTimeout: c.SocketTimeout, DialTimeout: c.SocketConnectTimeout,
		ContextTimeoutEnabled: true, MaxRetries: 1, DialerRetries: 1,
	}
	if c.RedisSSL {
		u.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.RedisHost}
	}
	switch {
	case c.SentinelMaster != "":
		u.Addrs, u.MasterName, u.SentinelUsername, u.SentinelPassword = c.SentinelAddrs, c.SentinelMaster, c.SentinelUsername, c.SentinelPassword
		if u.TLSConfig != nil {
			u.TLSConfig.ServerName = "" // the master's name is not known beforehand: go-redis takes each address's own
		}
		return redis.NewFailoverClient(u.Failover())
	case len(c.ClusterAddrs) > 0:
		u.Addrs = c.ClusterAddrs
		if u.TLSConfig != nil {
			u.TLSConfig.ServerName = ""
		}
		return redis.NewClusterClient(u.Cluster())
	}
	return redis.NewClient(u.Simple())
}

// RedisURL gives redis[s]://[user:password@]host:port/db, escaped so that it parses back. It holds
// the password: do not log it; String is for that.
func (c Config) RedisURL() string { return c.url(c.RedisPassword).String() }

func (c Config) url(password string) *url.URL {
	u := &url.URL{Scheme: "redis", Host: net.JoinHostPort(c.RedisHost, strconv.Itoa(c.RedisPort)), Path: "/" + strconv.Itoa(c.RedisDB)}
	if c.RedisSSL {
		u.Scheme = "rediss"
	}
	if c.RedisUsername != "" || password != "" {
		u.User = url.UserPassword(c.RedisUsername, password)
	}
	return u
}

// ConfigFromURL gives DefaultConfig with the server of redis[s]://[user:password@]host[:port][/db].
// Errors do not show the URL.
func ConfigFromURL(text string) (Config, error) {
	c := DefaultConfig()
	err := c.setURL("url", text)
	return c, err
}

func (c *Config) setURL(field, text string) error {
	u, err := url.Parse(text)
	if err != nil {
		// url.Error quotes what it was given, password and all.
		return &OptionError{Field: field, Reason: "is not a URL of the form redis[s]://[user:password@]host[:port][/db]"}
	}
	var f faults
	f.check(u.Scheme == "redis" || u.Scheme == "rediss", field, "must begin with redis:// or rediss://")
	f.check(u.Hostname() != "", field, "has no host")
	if strings.Contains(u.Hostname(), ":") {
		_, err := netip.ParseAddr(u.Hostname())
		f.check(err == nil, field, "host is neither a name nor an IP address")
	}
	f.check(u.RawQuery == "" && u.Fragment == "", field, "has a query or a fragment; settings other than the server's are Config's own fields")
	c.RedisSSL = u.Scheme == "rediss"
	c.RedisHost, c.RedisPort, c.RedisDB = u.Hostname(), 6379, 0
	if p := u.Port(); p != "" {
		c.RedisPort, err = strconv.Atoi(p)
		f.check(err == nil && c.RedisPort > 0 && c.RedisPort < 1<<16, field, "port must be from 1 to 65535")
	}
	if db := strings.Trim(u.Path, "/"); db != "" {
		c.RedisDB, err = strconv.Atoi(db)
		f.check(err == nil && c.RedisDB >= 0, field, "path must be the number of a database")
	}
	c.RedisUsername = u.User.Username()
	c.RedisPassword, _ = u.User.Password()
	return f.err()
}

// String describes the config without secrets.
func (c Config) String() string {
	password := ""
	if c.RedisPassword != "" {
		password = "REDACTED"
	}
	return fmt.Sprintf("tiered.Config{Enabled:%t Namespace:%s DefaultTTL:%v MaxMemorySize:%d MaxStaleness:%v Redis:%s SentinelMaster:%s SentinelAddrs:%v ClusterAddrs:%v PoolSize:%d SocketTimeout:%v SocketConnectTimeout:%v}",
		c.Enabled, c.Namespace, c.DefaultTTL, c.MaxMemorySize, c.MaxStaleness, c.url(password), c.SentinelMaster, c.SentinelAddrs, c.ClusterAddrs,
		c.ConnectionPoolSize, c.SocketTimeout, c.SocketConnectTimeout)
}

// GoString is String: %#v shows no secrets either.
func (c Config) GoString() string { return c.String() }

// LogValue is what slog logs: no secrets.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// plainConfig is Config without its methods.
type plainConfig Config

// configJSON has durations as strings such as "1h0m0s".
type configJSON struct {
	*plainConfig
	DefaultTTL           *jsonDuration
	MaxStaleness         *jsonDuration
	SocketTimeout        *jsonDuration
	SocketConnectTimeout *jsonDuration
	RedisPassword        *string `json:",omitempty"`
	SentinelPassword     *string `json:",omitempty"`
}

func (c *Config) asJSON() configJSON {
	return configJSON{
		plainConfig:  (*plainConfig)(c),
		DefaultTTL:   (*jsonDuration)(&c.DefaultTTL),
		MaxStaleness: (*jsonDuration)(&c.MaxStaleness), SocketTimeout: (*jsonDuration)(&c.SocketTimeout), SocketConnectTimeout: (*jsonDuration)(&c.SocketConnectTimeout),
	}
}

// MarshalJSON leaves passwords out.
func (c Config) MarshalJSON() ([]byte, error) { return json.Marshal(c.asJSON()) }

// UnmarshalJSON reads what MarshalJSON writes, and passwords. Fields that are not there stay as
// they are, so that one begins with DefaultConfig.
func (c *Config) UnmarshalJSON(data []byte) error {
	form := c.asJSON()
	form.RedisPassword, form.SentinelPassword = &c.RedisPassword, &c.SentinelPassword
	return json.Unmarshal(data, &form)
}

// jsonDuration is a duration as text, or as a number of seconds.
type jsonDuration time.Duration

func (d jsonDuration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

func (d *jsonDuration) UnmarshalJSON(data []byte) error {
	text := strings.Trim(string(data), `"`)
	v, err := parseDuration(text)
	if err != nil {
		return fmt.Errorf("doppio: %q is not a duration such as 5s, nor a number of seconds", text)
	}
	*d = jsonDuration(v)
	return nil
}

func parseDuration(text string) (time.Duration, error) {
	if s, err := strconv.ParseFloat(text, 64); err == nil {
		if s < 0 || s > 1e9 || math.IsNaN(s) {
			return 0, errors.New("out of range")
		}
		return time.Duration(s * float64(time.Second)), nil
	}
	return time.ParseDuration(text)
}

// ConfigFromEnv gives DefaultConfig with what the environment sets: prefix_REDIS_URL first, then
// prefix_ENABLED, _NAMESPACE, _DEFAULT_TTL, _MAX_MEMORY_SIZE, _MAX_STALENESS, _REDIS_HOST,
// _REDIS_PORT, _REDIS_DB, _REDIS_USERNAME, _REDIS_PASSWORD, _REDIS_SSL, _SENTINEL_MASTER,
// _SENTINEL_ADDRS, _SENTINEL_USERNAME, _SENTINEL_PASSWORD, _CLUSTER_ADDRS, _CONNECTION_POOL_SIZE,
// _SOCKET_TIMEOUT and _SOCKET_CONNECT_TIMEOUT. With an empty prefix the names have no leading
// underscore. Durations are like 5s, or numbers of seconds; addresses are separated by commas. A
// variable that is empty counts as not set. Every value that does not parse is reported, by
// variable; if all do, Config.Validate checks their ranges.
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
