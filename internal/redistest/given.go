package redistest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"
)

// GivenEnv lists folders with servers of other versions than those in PATH, separated as in PATH: see [Given].
const GivenEnv = "DOPPIO_TEST_REDIS"

// Given is a server of a folder that [GivenEnv] lists.
type Given struct {
	// Name is the server and its version, for example "redis-6.2.16". No two have the same.
	Name string

	path string
}

// GivenServers returns the redis-server and the valkey-server of each folder that [GivenEnv] lists, and none where the
// variable is not set. A folder without a server that runs is an error that names the folder.
func GivenServers() ([]Given, error) {
	given, err := serversIn(os.Getenv(GivenEnv))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", GivenEnv, err)
	}
	return given, nil
}

func serversIn(list string) ([]Given, error) {
	var out []Given
	var errs []error
	named := make(map[string]int)
	for _, dir := range filepath.SplitList(list) {
		if dir == "" {
			continue
		}
		if !filepath.IsAbs(dir) { // each package of tests has a working folder of its own
			errs = append(errs, fmt.Errorf("%q is not an absolute path", dir))
			continue
		}
		found := false
		for _, binary := range []string{redisBinary, valkeyBinary} {
			path := filepath.Join(dir, binary)
			if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
				continue
			}
			found = true
			name, err := nameOf(path)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", dir, err))
				continue
			}
			if named[name]++; named[name] > 1 {
				name = fmt.Sprintf("%s-%d", name, named[name])
			}
			out = append(out, Given{Name: name, path: path})
		}
		if !found {
			errs = append(errs, fmt.Errorf("%s has no %s and no %s", dir, redisBinary, valkeyBinary))
		}
	}
	return out, errors.Join(errs...)
}

var versionLine = regexp.MustCompile(`^(Redis|Valkey) server v=([^ ]+) `)

// nameOf asks a server for its version.
func nameOf(path string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	said, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", filepath.Base(path), err)
	}
	v := versionLine.FindSubmatch(said)
	if v == nil {
		return "", fmt.Errorf("%s --version says %.100q", filepath.Base(path), said)
	}
	kind := "redis"
	if string(v[1]) == "Valkey" {
		kind = "valkey"
	}
	return kind + "-" + string(v[2]), nil
}

// WithGiven runs a server that [GivenServers] found where redis-server would run: see [Start] and [StartCluster].
func WithGiven(g Given) Option {
	return func(c *config) { c.binary = g.path }
}
