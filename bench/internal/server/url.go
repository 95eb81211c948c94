package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// ErrURL reports what is not the URL of a Redis. Its message holds nothing of the URL, which may hold a password.
var ErrURL = errors.New("not a Redis URL: want redis[s]://[user:password@]host[:port][/db], or redis+cluster://[user:password@]host:port,host:port")

const defaultPort = "6379"

// NewClient gives a client of the Redis at a URL: redis:// and rediss:// are one server, redis+cluster:// and rediss+cluster://
// a Cluster, of which one or several nodes are named. It honours deadlines. mutate (nil: nothing) may change its options; a
// Dialer that it sets is given TLS where the URL asks for it.
func NewClient(rawURL string, mutate func(*redis.UniversalOptions)) (redis.UniversalClient, error) {
	o, err := parseURL(rawURL)
	if err != nil {
		return nil, err
	}
	if mutate != nil {
		mutate(o)
	}
	if o.Dialer != nil && o.TLSConfig != nil {
		o.Dialer = withTLS(o.Dialer, o.TLSConfig)
	}
	return redis.NewUniversalClient(o), nil
}

// CheckURL tells whether NewClient takes a URL.
func CheckURL(rawURL string) error {
	_, err := parseURL(rawURL)
	return err
}

func parseURL(raw string) (*redis.UniversalOptions, error) {
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return nil, ErrURL
	}
	base, cluster := strings.CutSuffix(scheme, "+cluster")
	if base != "redis" && base != "rediss" {
		return nil, ErrURL
	}
	if cluster {
		return parseCluster(base, rest)
	}
	o, err := redis.ParseURL(raw)
	if err != nil {
		return nil, refused(raw)
	}
	return &redis.UniversalOptions{
		Addrs: []string{o.Addr}, DB: o.DB, Username: o.Username, Password: o.Password, Protocol: o.Protocol, ClientName: o.ClientName,
		TLSConfig: o.TLSConfig, MaxRetries: o.MaxRetries, MinRetryBackoff: o.MinRetryBackoff, MaxRetryBackoff: o.MaxRetryBackoff,
		DialTimeout: o.DialTimeout, ReadTimeout: o.ReadTimeout, WriteTimeout: o.WriteTimeout, PoolFIFO: o.PoolFIFO,
		PoolSize: o.PoolSize, PoolTimeout: o.PoolTimeout, MinIdleConns: o.MinIdleConns, MaxIdleConns: o.MaxIdleConns,
		MaxActiveConns: o.MaxActiveConns, ConnMaxIdleTime: o.ConnMaxIdleTime, ConnMaxLifetime: o.ConnMaxLifetime,
		ContextTimeoutEnabled: true, MaintNotificationsConfig: noNotices(),
	}, nil
}

// parseCluster rewrites the list of nodes to what go-redis reads: one host, and the others as parameters.
func parseCluster(scheme, rest string) (*redis.UniversalOptions, error) {
	hosts, query, _ := strings.Cut(rest, "?")
	hosts = strings.TrimSuffix(hosts, "/")
	user := ""
	if at := strings.LastIndex(hosts, "@"); at >= 0 {
		user, hosts = hosts[:at+1], hosts[at+1:]
	}
	nodes := strings.Split(hosts, ",")
	for _, n := range nodes {
		if n == "" || strings.ContainsAny(n, "/@") {
			return nil, ErrURL
		}
	}
	rewritten := scheme + "://" + user + nodes[0] + "?" + query
	for _, n := range nodes[1:] {
		if _, _, err := net.SplitHostPort(n); err != nil {
			n = net.JoinHostPort(strings.Trim(n, "[]"), defaultPort)
		}
		rewritten += "&addr=" + url.QueryEscape(n)
	}
	o, err := redis.ParseClusterURL(rewritten)
	if err != nil {
		return nil, refused(rewritten)
	}
	return &redis.UniversalOptions{
		Addrs: o.Addrs, IsClusterMode: true, Username: o.Username, Password: o.Password, Protocol: o.Protocol, ClientName: o.ClientName,
		TLSConfig: o.TLSConfig, MaxRedirects: o.MaxRedirects, MaxRetries: o.MaxRetries, MinRetryBackoff: o.MinRetryBackoff,
		MaxRetryBackoff: o.MaxRetryBackoff, DialTimeout: o.DialTimeout, ReadTimeout: o.ReadTimeout, WriteTimeout: o.WriteTimeout,
		PoolFIFO: o.PoolFIFO, PoolSize: o.PoolSize, PoolTimeout: o.PoolTimeout, MinIdleConns: o.MinIdleConns, MaxIdleConns: o.MaxIdleConns,
		MaxActiveConns: o.MaxActiveConns, ConnMaxIdleTime: o.ConnMaxIdleTime, ConnMaxLifetime: o.ConnMaxLifetime,
		ContextTimeoutEnabled: true, MaintNotificationsConfig: noNotices(),
	}, nil
}

// refused says what is wrong with a URL. The parsers' errors repeat parts of it, so they are not passed on.
func refused(raw string) error {
	if _, err := url.Parse(raw); err != nil {
		return fmt.Errorf("%w; special characters of a password are written as %%XX", ErrURL)
	}
	return fmt.Errorf("%w; database or options are not understood", ErrURL)
}

// noNotices spares servers the handshake of notices that only a managed service gives.
func noNotices() *maintnotifications.Config {
	return &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}

type dialer = func(ctx context.Context, network, addr string) (net.Conn, error)

// withTLS does what go-redis leaves to a dialer that is not its own.
func withTLS(dial dialer, config *tls.Config) dialer {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		config := config.Clone()
		if config.ServerName == "" {
			config.ServerName, _, _ = net.SplitHostPort(addr)
		}
		secure := tls.Client(conn, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		return secure, nil
	}
}
