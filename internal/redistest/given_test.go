package redistest

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// folder is one with links to servers of PATH.
func folder(t *testing.T, binaries ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, b := range binaries {
		path, err := exec.LookPath(b)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(dir, b)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestGiven_serversAreStarted(t *testing.T) {
	both, one := folder(t, redisBinary, valkeyBinary), folder(t, redisBinary)
	t.Setenv(GivenEnv, strings.Join([]string{both, one, ""}, string(filepath.ListSeparator)))
	given, err := GivenServers()
	if err != nil {
		t.Fatal(err)
	}
	redis, valkey := Start(t), StartValkey(t)
	var names []string
	for _, g := range given {
		names = append(names, g.Name)
		s := Start(t, WithGiven(g))
		if _, version, _ := strings.Cut(g.Name, "-"); !strings.HasPrefix(version, s.Version) {
			t.Errorf("%s runs version %s", g.Name, s.Version)
		}
		if running := s.running(); running == nil || running.cmd.Path != g.path {
			t.Errorf("%s is not what was started", g.Name)
		}
	}
	want := []string{"redis-" + redis.Version, "valkey-" + valkey.Version, "redis-" + redis.Version + "-2"}
	if !slices.Equal(names, want) {
		t.Errorf("given %q, want %q", names, want)
	}
	if c := StartCluster(t, 2, WithGiven(given[1])); c.Nodes[0].Version != valkey.Version {
		t.Errorf("a Cluster of version %s", c.Nodes[0].Version)
	}
}

func TestGiven_mayBeNone(t *testing.T) {
	t.Setenv(GivenEnv, "")
	if given, err := GivenServers(); len(given) != 0 || err != nil {
		t.Errorf("given %v, %v", given, err)
	}
}

func TestGiven_foldersWithoutAServerAreNamed(t *testing.T) {
	good, empty, broken := folder(t, redisBinary), t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(broken, redisBinary), []byte("#!/bin/sh\necho something else\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	gone := filepath.Join(empty, "gone")
	t.Setenv(GivenEnv, strings.Join([]string{good, empty, gone, broken, "relative"}, string(filepath.ListSeparator)))
	_, err := GivenServers()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{GivenEnv, empty + " has no", gone + " has no", broken + ": ", `"relative"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: does not say %q", err, want)
		}
	}
	if strings.Contains(err.Error(), good) {
		t.Errorf("%v: names a folder that is in order", err)
	}
}
