package report

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/doppio-cache/doppio/bench/internal/result"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func written(t *testing.T, docs ...*result.Document) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, docs); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// writtenFile is a page of samples on disk.
func writtenFile(t *testing.T, docs ...*result.Document) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(path, []byte(written(t, docs...)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestNothingToReport(t *testing.T) {
	if err := Write(&bytes.Buffer{}, nil); !errors.Is(err, ErrNothing) {
		t.Errorf("Write of no document: %v, want ErrNothing", err)
	}
}

var (
	foreign  = regexp.MustCompile(`(?i)(src|href|action|data|poster|content)\s*=\s*["']?\s*(https?:|//)|url\(|@import|<(link|iframe|img|object|embed|base)\b`)
	handlers = regexp.MustCompile(`(?i)<[a-z][^>]*\son[a-z]+\s*=`)
)

// withoutScripts cuts script elements out, and counts them. A regular expression takes seconds for megabytes.
func withoutScripts(page string) (markup string, n int) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(page, "<script")
		b.WriteString(before)
		if !found {
			return b.String(), n
		}
		_, page, _ = strings.Cut(rest, "</script>")
		n++
	}
}

func TestPageIsSelfContained(t *testing.T) {
	page := written(t, samples()...)
	if n := strings.Count(page, "<script"); n < 3 {
		t.Fatalf("the page has %d scripts, want 3", n)
	}
	markup, n := withoutScripts(page)
	if n != 3 {
		t.Errorf("%d script elements, want those of the data, of ECharts and of the report", n)
	}
	if found := foreign.FindString(markup); found != "" {
		t.Errorf("the page refers to something outside: %s", found)
	}
	if found := handlers.FindString(markup); found != "" {
		t.Errorf("an inline event handler: %s", found)
	}
	if strings.Contains(markup, "<script") || strings.Contains(page, "<script>alert") {
		t.Error("a name became a script")
	}
	if !strings.Contains(markup, "default-src &#39;none&#39;") {
		t.Error("the page has no policy that forbids the rest")
	}
	if strings.Contains(page, "ZgotmplZ") {
		t.Error("the template refused to write something")
	}
}

func TestEachDocumentAlone(t *testing.T) {
	for _, d := range samples() {
		page := written(t, d)
		for command, title := range titles {
			if held := strings.Contains(page, ">"+title+"<"); held != (command == d.Command) {
				t.Errorf("a page of %s alone: section %q there is %v", d.Command, title, held)
			}
		}
	}
}

func TestTablesTellEverything(t *testing.T) {
	page := written(t, samples()...)
	for _, want := range []string{
		"it has no tier of its own for this", "7,083", "914,145", "Sample Processor 9000 @ 3.2 GHz", "0123456789abcdef", "v9.23.0", "--rounds=7",
		"not whole: the budget of 60 s was spent", "2 reads were stale beyond the bound", "cpu(N) = a &#43; b·N", "Instances ask alike.", "last caller, ms 67",
		"A copy of the key that the library makes counts", "doppio: loads 3.00, budget 1.00", "figures beyond one of 7 budgets",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	p, err := newPage(samples())
	if err != nil {
		t.Fatal(err)
	}
	ids := make(map[string]bool)
	for _, c := range p.charts() {
		if len(c.Table.Rows) == 0 || c.Alternative == "" {
			t.Errorf("chart %s has no table or no alternative", c.ID)
		}
		if ids[c.ID] || notInIDs.MatchString(strings.ReplaceAll(c.ID, "-", "")) {
			t.Errorf("chart id %q is not its own, or not fit for a file's name", c.ID)
		}
		ids[c.ID] = true
	}
	if !ids["local-hit"] {
		t.Error("there is no chart local-hit")
	}
}

func TestECharts(t *testing.T) {
	text, err := os.ReadFile("assets/echarts.common.min.js")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("assets/README.md")
	if err != nil {
		t.Fatal(err)
	}
	if sum := fmt.Sprintf("%x", sha256.Sum256(text)); !strings.Contains(string(readme), sum) {
		t.Errorf("the sum of ECharts is %s, which its README does not say: it was modified", sum)
	}
}

func TestNoChromium(t *testing.T) {
	t.Setenv("CHROMIUM", filepath.Join(t.TempDir(), "absent"))
	if _, err := Images(t.Context(), writtenFile(t, sampleChaos()), t.TempDir(), nil); !errors.Is(err, ErrNoChromium) {
		t.Errorf("Images without a Chromium: %v, want ErrNoChromium", err)
	}
}
