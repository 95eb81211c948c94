package tiered_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/tiered"
)

// configured gives the config of the shared server.
func configured(t *testing.T) tiered.Config {
	t.Helper()
	host, port, err := net.SplitHostPort(shared.Addr)
	check(t, err)
	cfg := tiered.DefaultConfig()
	cfg.RedisHost, cfg.Namespace, cfg.DefaultTTL = host, namespace(t), time.Minute
	cfg.RedisPort, err = strconv.Atoi(port)
	check(t, err)
	return cfg
}

func opened(t *testing.T) (*tiered.Client, *tiered.Cache[int64]) {
	t.Helper()
	client, err := tiered.Open(configured(t))
	check(t, err)
	t.Cleanup(func() { closeClient(t, client) })
	return client, newCache[int64](t, client, "c", tiered.CacheOptions{})
}

func TestOpen_usesItsConfig(t *testing.T) {
	t.Parallel()
	client, c := opened(t)
	ready(t, client)
	check(t, c.Set(t.Context(), "k", 1))
	if left, err := c.TTL(t.Context(), "k"); err != nil || left > time.Minute || left < 30*time.Second {
		t.Errorf("TTL = %v, %v, want DefaultTTL of the config", left, err)
	}
}

func TestDefaultConfig_isAsDocumented(t *testing.T) {
	t.Parallel()
	want := tiered.Config{
		Enabled: true, Namespace: "doppio", DefaultTTL: 3600 * time.Second, MaxMemorySize: 1000, MaxStaleness: 2 * time.Second,
		RedisHost: "localhost", RedisPort: 6379, RedisDB: 0, RedisUsername: "", RedisPassword: "", RedisSSL: false,
		ConnectionPoolSize: 20, SocketTimeout: 5 * time.Second, SocketConnectTimeout: 5 * time.Second,
	}
	got := tiered.DefaultConfig()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %#v", got)
	}
	check(t, got.Validate())
	if url := got.RedisURL(); url != "redis://localhost:6379/0" {
		t.Errorf("RedisURL = %s", url)
	}
}

var hostilePasswords = []string{
	"p@ss:/?#[]%", "%41", "%", "a b+c", "ünï-世界", `"'\` + "`", "\x7f\n\t", "//@@::", "?db=3", "#x", strings.Repeat("long", 100),
}

func TestRedisURL_parsesBack(t *testing.T) {
	t.Parallel()
	for _, password := range hostilePasswords {
		for _, username := range []string{"", "default", "us:er@/"} {
			for _, host := range []string{"localhost", "10.0.0.1", "::1", "2001:db8::1"} {
				for _, ssl := range []bool{false, true} {
					cfg := tiered.DefaultConfig()
					cfg.RedisHost, cfg.RedisPort, cfg.RedisDB, cfg.RedisUsername, cfg.RedisPassword, cfg.RedisSSL = host, 6380, 3, username, password, ssl
					check(t, cfg.Validate())
					back, err := tiered.ConfigFromURL(cfg.RedisURL())
					if err != nil || !reflect.DeepEqual(back, cfg) {
						t.Errorf("password %q: %v, %v", password, back, err)
					}
					o, err := redis.ParseURL(cfg.RedisURL())
					if err != nil {
						t.Errorf("redis.ParseURL, password %q: %v", password, err)
						continue
					}
					if o.Addr != net.JoinHostPort(host, "6380") || o.DB != 3 || o.Username != username || o.Password != password || (o.TLSConfig != nil) != ssl {
						t.Errorf("redis.ParseURL, password %q: %s %d %q %q", password, o.Addr, o.DB, o.Username, o.Password)
					}
				}
			}
		}
	}
}

func TestConfigFromURL_readsURLsAndShowsNoSecrets(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"redis://h": "h:6379/0 tls=false", "rediss://h:1/15": "h:1/15 tls=true", "redis://:pw@h:1": "h:1/0 tls=false", "redis://[::1]": "::1:6379/0 tls=false",
	} {
		c, err := tiered.ConfigFromURL(url)
		if got := fmt.Sprintf("%s:%d/%d tls=%t", c.RedisHost, c.RedisPort, c.RedisDB, c.RedisSSL); err != nil || got != want {
			t.Errorf("%s: %s, %v", url, got, err)
		}
	}
	for _, url := range []string{
		"", "h", "http://:s3cret@h", "redis://", "redis://:s3cret@/0", "redis://:s3cret@h:0", "redis://:s3cret@h:99999", "redis://:s3cret@h/x", "redis://:s3cret@h/-1", "redis://:s3cret@h/1/2",
		"redis://:s3cret@h?db=1", "redis://:s3cret@h#x", "redis://:s3cret/a@h:1/0", "redis://:s3cret?a@h", "redis://:s3cret%@h", "redis://:s3cret[@h", "s3cret\x7f://",
	} {
		_, err := tiered.ConfigFromURL(url)
		if err == nil || !errors.Is(err, tiered.ErrInvalidOptions) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v, want an error that does not show the URL", url, err)
		}
	}
}

func FuzzConfigFromURL(f *testing.F) {
	for _, p := range hostilePasswords {
		cfg := tiered.DefaultConfig()
		cfg.RedisPassword = p
		f.Add(cfg.RedisURL())
		f.Add("redis://:" + p + "@host:1/2")
	}
	f.Add("redis://::")
	f.Fuzz(func(t *testing.T, text string) {
		cfg, err := tiered.ConfigFromURL(text)
		if err != nil {
			if !errors.Is(err, tiered.ErrInvalidOptions) {
				t.Fatalf("%v is no OptionError", err)
			}
			return
		}
		back, err := tiered.ConfigFromURL(cfg.RedisURL())
		if err != nil || !reflect.DeepEqual(back, cfg) {
			t.Fatalf("%q does not survive: %#v, %#v, %v", text, cfg.RedisURL(), back.RedisURL(), err)
		}
	})
}

func TestConfig_showsNoPassword(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{"s3cret", "p@s3cret:/"} {
		cfg := tiered.DefaultConfig()
		cfg.RedisPassword, cfg.SentinelPassword, cfg.RedisUsername, cfg.SentinelUsername = secret, secret, "app", "sentinel"
		cfg.RedisPort = 0 // so that Validate has something to say
		var logged bytes.Buffer
		for _, h := range []slog.Handler{slog.NewTextHandler(&logged, nil), slog.NewJSONHandler(&logged, nil)} {
			slog.New(h).Info("config", "value", cfg, "pointer", &cfg)
		}
		data, err := json.Marshal(cfg)
		check(t, err)
		pointer, err := json.Marshal(map[string]any{"config": &cfg})
		check(t, err)
		wrapped := struct{ Config tiered.Config }{cfg}
		_, open := tiered.Open(cfg)
		wantErr(t, open, tiered.ErrInvalidOptions)
		for how, text := range map[string]string{
			"String": cfg.String(), "%v": fmt.Sprintf("%v", cfg), "%+v": fmt.Sprintf("%+v", cfg), "%#v": fmt.Sprintf("%#v", cfg), "%q": fmt.Sprintf("%q", cfg),
			"pointer": fmt.Sprintf("%v %+v %#v", &cfg, &cfg, &cfg), "in a struct": fmt.Sprintf("%v %+v %#v", wrapped, wrapped, wrapped),
			"slog": logged.String(), "JSON": string(data), "JSON of a pointer": string(pointer), "error": open.Error(),
		} {
			if strings.Contains(text, "s3cret") {
				t.Errorf("%s shows the password: %s", how, text)
			}
		}
		if !strings.Contains(cfg.String(), "REDACTED") {
			t.Error("String does not say that there is a password")
		}
	}
}

func TestConfig_readsTheJSONThatItWrites(t *testing.T) {
	t.Parallel()
	cfg := tiered.DefaultConfig()
	cfg.DefaultTTL, cfg.SentinelMaster, cfg.SentinelAddrs, cfg.RedisSSL, cfg.RedisDB = tiered.NoExpiration, "main", []string{"a:1", "b:2"}, true, 7
	data, err := json.Marshal(cfg)
	check(t, err)
	back := tiered.DefaultConfig()
	check(t, json.Unmarshal(data, &back))
	if !reflect.DeepEqual(back, cfg) {
		t.Errorf("%s gives %#v", data, back)
	}
	back = tiered.DefaultConfig()
	check(t, json.Unmarshal([]byte(`{"RedisPassword":"pw","SentinelPassword":"spw","SocketTimeout":1.5,"MaxStaleness":"100ms","DefaultTTL":60}`), &back))
	if back.RedisPassword != "pw" || back.SentinelPassword != "spw" || back.SocketTimeout != 1500*time.Millisecond || back.MaxStaleness != 100*time.Millisecond || back.DefaultTTL != time.Minute || back.RedisPort != 6379 {
		t.Errorf("got %#v", back)
	}
	for _, bad := range []string{`{"SocketTimeout":"soon"}`, `{"SocketTimeout":-1}`, `{"SocketTimeout":"NaN"}`, `{"SocketTimeout":1e300}`, `{"RedisPassword":["s3cret"]}`} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestConfigFromEnv_readsEveryVariable(t *testing.T) {
	for name, value := range map[string]string{
		"X_REDIS_URL": "rediss://app:url-pw@urlhost:1/2", "X_ENABLED": "FALSE", "X_NAMESPACE": "ns", "X_DEFAULT_TTL": "90", "X_MAX_MEMORY_SIZE": "7", "X_MAX_STALENESS": "250ms",
		"X_REDIS_HOST": "host", "X_REDIS_PASSWORD": "p@ss", "X_SENTINEL_MASTER": "main", "X_SENTINEL_ADDRS": "a:1, b:2,,", "X_SENTINEL_USERNAME": "su", "X_SENTINEL_PASSWORD": "sp",
		"X_CONNECTION_POOL_SIZE": "3", "X_SOCKET_TIMEOUT": "1s", "X_SOCKET_CONNECT_TIMEOUT": "0.5", "X_REDIS_DB": "",
	} {
		t.Setenv(name, value)
	}
	want := tiered.Config{
		Enabled: false, Namespace: "ns", DefaultTTL: 90 * time.Second, MaxMemorySize: 7, MaxStaleness: 250 * time.Millisecond,
		RedisHost: "host", RedisPort: 1, RedisDB: 2, RedisUsername: "app", RedisPassword: "p@ss", RedisSSL: true,
		SentinelMaster: "main", SentinelAddrs: []string{"a:1", "b:2"}, SentinelUsername: "su", SentinelPassword: "sp",
		ConnectionPoolSize: 3, SocketTimeout: time.Second, SocketConnectTimeout: 500 * time.Millisecond,
	}
	for _, prefix := range []string{"X", "X_"} {
		got, err := tiered.ConfigFromEnv(prefix)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %#v, %v", prefix, got, err)
		}
	}
	if got, err := tiered.ConfigFromEnv("NOBODY_SETS_THIS"); err != nil || !reflect.DeepEqual(got, tiered.DefaultConfig()) {
		t.Errorf("nothing set: %#v, %v", got, err)
	}
	for name, value := range map[string]string{"X_REDIS_URL": "http://:s3cret@h", "X_ENABLED": "perhaps", "X_REDIS_PORT": "s3cret", "X_SOCKET_TIMEOUT": "s3cret"} {
		t.Setenv(name, value)
	}
	_, err := tiered.ConfigFromEnv("X")
	for _, variable := range []string{"X_REDIS_URL", "X_ENABLED", "X_REDIS_PORT", "X_SOCKET_TIMEOUT"} {
		if err == nil || !strings.Contains(err.Error(), variable) {
			t.Errorf("%v does not name %s", err, variable)
		}
	}
	if err != nil && strings.Contains(err.Error(), "s3cret") {
		t.Errorf("%v shows what was set", err)
	}
}
