package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/doppio-cache/doppio/bench/internal/result"
)

// stderrOf returns what f writes to standard error.
func stderrOf(t *testing.T, f func()) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	before := os.Stderr
	os.Stderr = w
	defer func() { os.Stderr = before }()
	read := make(chan string)
	go func() {
		text, _ := io.ReadAll(r)
		r.Close()
		read <- string(text)
	}()
	f()
	w.Close()
	return <-read
}

// TestPicturesShowProgress: with a browser that takes its time, and then does not start.
func TestPicturesShowProgress(t *testing.T) {
	dir := t.TempDir()
	slow, whole := filepath.Join(dir, "chromium"), filepath.Join(dir, "chaos.json")
	var text bytes.Buffer
	d := result.Document{Version: result.Version, Command: "chaos", Chaos: &result.Chaos{}}
	if err := errors.Join(d.Write(&text), os.WriteFile(whole, text.Bytes(), 0o600), os.WriteFile(slow, []byte("#!/bin/sh\nsleep 3\nexit 1\n"), 0o700)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CHROMIUM", slow)
	args := []string{"report", "--out", filepath.Join(dir, "page.html"), "--images", dir, whole}
	if code, _, errs := captured(t.Context(), t, args...); code != exitFailed || !strings.Contains(errs, "2 s    0 %  start Chromium") {
		t.Errorf("exit code %d, %q", code, errs)
	}
}

func TestReport(t *testing.T) {
	dir := t.TempDir()
	whole := filepath.Join(dir, "chaos.json")
	var text bytes.Buffer
	d := result.Document{Version: result.Version, Command: "chaos", Chaos: &result.Chaos{Runs: []result.ChaosRun{{Fault: "cut", Verdict: "ok"}}}}
	if err := d.Write(&text); err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(dir, "broken.json")
	for path, content := range map[string][]byte{whole: text.Bytes(), broken: []byte(`{"version": 1`)} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(dir, "page.html")
	t.Setenv("CHROMIUM", filepath.Join(dir, "no-browser"))
	for _, c := range []struct {
		name string
		args []string
		want int
		says string
	}{
		{"no file", []string{"--out", out}, exitUsage, "FILE"},
		{"empty out", []string{"--out", "", whole}, exitUsage, "--out"},
		{"empty images", []string{"--out", out, "--images", "", whole}, exitUsage, "--images"},
		{"absent file", []string{"--out", out, filepath.Join(dir, "absent.json")}, exitFailed, "absent.json"},
		{"broken file", []string{"--out", out, whole, broken}, exitFailed, "broken.json"},
		{"out in a missing directory", []string{"--out", filepath.Join(dir, "missing", "page.html"), whole}, exitFailed, "--out"},
		{"images without a browser", []string{"--out", out, "--images", filepath.Join(dir, "images"), whole}, exitFailed, "install chromium"},
		{"one file", []string{"--out", out, whole}, exitOK, "page.html"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var code int
			said := stderrOf(t, func() { code = run(t.Context(), append([]string{"doppio", "report"}, c.args...)) })
			if code != c.want || !strings.Contains(said, c.says) {
				t.Errorf("exit code %d, want %d; it said %q, want %q in it", code, c.want, said, c.says)
			}
		})
	}
	page, err := os.ReadFile(out)
	if err != nil || !bytes.Contains(page, []byte("<!DOCTYPE html>")) {
		t.Errorf("the page is not there: %v", err)
	}
}
