package main

import (
	"strings"
	"testing"
)

// TestCompletion: what the scripts ask for is every command that is shown, and a command's flags.
func TestCompletion(t *testing.T) {
	const asked = "--generate-shell-completion"
	for _, shell := range []string{"bash", "zsh", "fish", "pwsh"} {
		code, script, errs := process(t, "completion", shell)
		if code != exitOK || !strings.Contains(script, asked) || errs != "" {
			t.Errorf("%s: exit code %d, %q, and a script that does not ask:\n%s", shell, code, errs, script)
		}
	}
	for _, c := range []struct {
		name   string
		args   []string
		offers []string
		not    []string
	}{
		{"commands", nil, []string{"demo", "compare", "replay", "fleet", "chaos", "inspect", "tail", "report", "help", "completion"}, []string{"demo-instance", "fleet-instance"}},
		{"flags", []string{"compare", "--"}, []string{"--only", "--check", "--out", "--quiet"}, []string{"--namespace"}},
		{"flags that begin so", []string{"compare", "--bu"}, []string{"--budgets"}, []string{"--only"}},
		{"shells", []string{"completion"}, []string{"bash", "zsh", "fish", "pwsh"}, []string{"demo"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errs := process(t, append(c.args, asked)...)
			if code != exitOK || errs != "" {
				t.Errorf("exit code %d, %q", code, errs)
			}
			lines := "\n" + out
			for _, want := range c.offers {
				if !strings.Contains(lines, "\n"+want+":") {
					t.Errorf("%s is not offered:\n%s", want, out)
				}
			}
			for _, unwanted := range c.not {
				if strings.Contains(lines, "\n"+unwanted) {
					t.Errorf("%s is offered:\n%s", unwanted, out)
				}
			}
		})
	}
}
