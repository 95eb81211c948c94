package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/doppio-cache/doppio/internal/redistest"
	"github.com/doppio-cache/doppio/tiered"
)

const (
	lookPassword = "pass-w0rd"
	lookValue    = "the-value"
)

// captured runs the command, and gives its exit code and what it wrote to standard output and standard error. It may not
// run beside others.
func captured(ctx context.Context, t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	stdout, stderr := os.Stdout, os.Stderr
	defer func() { os.Stdout, os.Stderr = stdout, stderr }()
	files := make([]*os.File, 2)
	for i := range files {
		f, err := os.CreateTemp(t.TempDir(), "out")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() }) // it is read by its name
		files[i] = f
	}
	os.Stdout, os.Stderr = files[0], files[1]
	code = run(ctx, append([]string{"doppio"}, args...))
	texts := make([]string, 2)
	for i, f := range files {
		b, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		texts[i] = string(b)
	}
	return code, texts[0], texts[1]
}

// guarded gives a Redis with a password, which holds an entry; and its URL, password included.
func guarded(t *testing.T) (url string, people *tiered.Cache[string]) {
	t.Helper()
	srv := redistest.Start(t, redistest.WithPassword(lookPassword))
	client, err := tiered.New(srv.Client(t), tiered.Options{Namespace: "ns"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	people, err = tiered.NewCache[string](client, "people", tiered.CacheOptions{})
	if err = errors.Join(err, client.Ready(t.Context())); err != nil {
		t.Fatal(err)
	}
	if err := people.Set(t.Context(), "k", lookValue, tiered.Tags("t")); err != nil {
		t.Fatal(err)
	}
	return "redis://:" + lookPassword + "@" + srv.Addr, people
}

func TestInspectCommand(t *testing.T) {
	url, people := guarded(t)
	t.Setenv("REDIS_URL", url)
	wrong := strings.Replace(url, lookPassword, lookPassword+"-wrong", 1)
	for _, c := range []struct {
		name  string
		args  []string
		want  int
		tells string
		value bool
	}{
		{"found", []string{"--namespace", "ns", "--cache", "people", "k"}, exitOK, "valid", false},
		{"raw", []string{"--raw", "ns:people:k"}, exitOK, "ns:people:k", false},
		{"value", []string{"--raw", "--show-values", "ns:people:k"}, exitOK, lookValue, true},
		{"json", []string{"--raw", "--json", "ns:people:k"}, exitOK, `"verdict": "valid"`, false},
		{"json with value", []string{"--raw", "--json", "--show-values", "ns:people:k"}, exitOK, lookValue, true},
		{"holders", []string{"--raw", "--holders", "ns:people:k"}, exitOK, "1 of 1 instances answered", false},
		{"holders as json", []string{"--raw", "--holders", "--json", "ns:people:k"}, exitOK, `"asked": 1`, false},
		{"absent", []string{"--raw", "ns:people:other"}, exitUnclean, "absent", false},
		{"flags behind the key", []string{"k", "--namespace", "ns", "--cache", "people"}, exitOK, "valid", false},
		{"two keys", []string{"--raw", "ns:people:k", "other"}, exitUsage, "has 2 arguments\n", false},
		{"help", []string{"--help"}, exitOK, "Exit codes", false},
		{"no key", []string{"--cache", "people"}, exitUsage, "KEY", false},
		{"no cache", []string{"k"}, exitUsage, "--cache", false},
		{"raw and cache", []string{"--raw", "--cache", "people", "k"}, exitUsage, "--raw", false},
		{"not raw", []string{"--raw", "k"}, exitUsage, "namespace:cache:key", false},
		{"bad cache", []string{"--cache", "a:b", "k"}, exitUsage, "cache", false},
		{"bad URL", []string{"--redis", url + "%zz/x/y", "--raw", "ns:people:k"}, exitUsage, "--redis", false},
		{"wrong password", []string{"--redis", wrong, "--raw", "ns:people:k"}, exitFailed, "WRONGPASS", false},
		{"nobody there", []string{"--redis", "redis://:" + lookPassword + "@127.0.0.1:1", "--raw", "ns:people:k"}, exitFailed, "refused", false},
		{"no Cluster", []string{"--redis", strings.Replace(url, "redis:", "redis+cluster:", 1), "--raw", "ns:people:k"}, exitFailed, "luster", false},
		{"unknown flag", []string{"--brew"}, exitUsage, "brew", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errs := captured(t.Context(), t, append([]string{"inspect"}, c.args...)...)
			all := out + errs
			if code != c.want || !strings.Contains(all, c.tells) {
				t.Errorf("exit code %d, want %d and %q:\n%s", code, c.want, c.tells, all)
			}
			if strings.Contains(all, lookPassword) || strings.Contains(all, lookValue) != c.value {
				t.Errorf("a secret is told:\n%s", all)
			}
		})
	}
	if err := people.InvalidateTags(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	code, out, errs := captured(t.Context(), t, "inspect", "--raw", "--json", "ns:people:k")
	var f struct {
		Verdict, Why string
	}
	if err := json.Unmarshal([]byte(out), &f); err != nil || code != exitUnclean || f.Verdict != "invalidated" || !strings.Contains(errs, "no valid record: invalidated") {
		t.Errorf("exit code %d, %+v, %v, %q", code, f, err, errs)
	}
}
