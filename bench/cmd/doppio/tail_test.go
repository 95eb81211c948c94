package main

import (
	"context"
	"strings"
	"testing"
)

func TestTailCommand(t *testing.T) {
	url, people := guarded(t)
	t.Setenv("REDIS_URL", url)
	ended, end := context.WithCancel(t.Context())
	end()
	for _, c := range []struct {
		name  string
		ctx   context.Context
		args  []string
		want  int
		tells string
	}{
		{"replay", t.Context(), []string{"--namespace", "ns", "--since", "1h", "--count", "1"}, exitOK, "1 messages"},
		{"json", t.Context(), []string{"--namespace", "ns", "--since", "1h", "--count", "1", "--json"}, exitOK, `"what":"summary"`},
		{"one entry", t.Context(), []string{"--namespace", "ns", "--since", "1h", "--cache", "people", "--key", "k", "--count", "1"}, exitOK, "keys"},
		{"interrupted", ended, []string{"--namespace", "ns"}, exitOK, "0 messages"},
		{"help", t.Context(), []string{"--help"}, exitOK, "Ctrl-C is the normal end"},
		{"an argument", t.Context(), []string{"brew"}, exitUsage, "brew"},
		{"key without cache", t.Context(), []string{"--key", "k"}, exitUsage, "Cache"},
		{"bad since", t.Context(), []string{"--since", "yesterday"}, exitUsage, "yesterday"},
		{"bad URL", t.Context(), []string{"--redis", url + "%zz"}, exitUsage, "--redis"},
		{"wrong password", t.Context(), []string{"--redis", strings.Replace(url, "@", "x@", 1)}, exitFailed, "WRONGPASS"},
		{"nobody there", t.Context(), []string{"--redis", "redis://:" + lookPassword + "@127.0.0.1:1"}, exitFailed, "refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errs := captured(c.ctx, t, append([]string{"tail"}, c.args...)...)
			all := out + errs
			if code != c.want || !strings.Contains(all, c.tells) {
				t.Errorf("exit code %d, want %d and %q:\n%s", code, c.want, c.tells, all)
			}
			if strings.Contains(all, lookPassword) || strings.Contains(all, lookValue) {
				t.Errorf("a secret is told:\n%s", all)
			}
		})
	}
	if _, err := people.Delete(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	// In JSON, the summary and the message are documents of their own.
	_, out, _ := captured(t.Context(), t, "tail", "--namespace", "ns", "--since", "1h", "--count", "3", "--json")
	if n := strings.Count(out, `"what":"message"`); n != 3 || strings.Count(out, "\n") != 5 {
		t.Errorf("%d messages in\n%s", n, out)
	}
}
