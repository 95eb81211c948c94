package redistest

// Option changes how a server is started.
type Option func(*config)

type config struct {
	binary    string
	sentinel  bool
	directive []string // lines of the configuration file
	args      []string // after the file's name, so they override it
	password  string
	tls       bool
}

func newConfig(binary string, opts []Option) *config {
	c := &config{binary: binary}
	for _, o := range opts {
		o(c)
	}
	return c
}

// WithArgs adds command-line arguments, for example "--maxmemory", "8mb". They override what this package sets.
func WithArgs(args ...string) Option {
	return func(c *config) { c.args = append(c.args, args...) }
}

// WithPassword protects the default user.
func WithPassword(password string) Option {
	return func(c *config) {
		c.password = password
		c.directive = append(c.directive, "requirepass "+quote(password))
	}
}

// WithACLUser adds a user with the given rules, for example "~app:*", "&app:*", "+@all", "-@dangerous". Without
// rules it may do everything. The default user stays as it is: see [Server.ClientAs].
func WithACLUser(name, password string, rules ...string) Option {
	return func(c *config) {
		if len(rules) == 0 {
			rules = []string{"~*", "&*", "+@all"}
		}
		line := "user " + name + " on " + quote(">"+password)
		for _, r := range rules {
			line += " " + quote(r)
		}
		c.directive = append(c.directive, line)
	}
}

// WithTLS makes the server speak TLS only, with a certificate for 127.0.0.1 and localhost from an authority made
// for this process: see [Server.TLSConfig].
func WithTLS() Option {
	return func(c *config) { c.tls = true }
}

// WithValkey runs valkey-server where redis-server would run: see [StartCluster] and [StartSentinel], whose
// sentinels stay Redis's.
func WithValkey() Option {
	return func(c *config) { c.binary = valkeyBinary }
}

func withDirective(lines ...string) Option {
	return func(c *config) { c.directive = append(c.directive, lines...) }
}
