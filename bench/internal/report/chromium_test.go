package report

import (
	_ "embed"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/doppio-cache/doppio/bench/internal/result"
)

//go:embed testdata/probe.js
var probe string

// seen is what testdata/probe.js returns.
type seen struct {
	Wrong      []string `json:"wrong"`
	Charts     int      `json:"charts"`
	Tables     int      `json:"tables"`
	Draws      []int    `json:"draws"`
	Background string   `json:"background"`
	Ink        string   `json:"ink"`
}

// watch keeps what a page does that it must not do.
type watch struct {
	mu         sync.Mutex
	complaints []string
	requests   []string
}

func (w *watch) see(event any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		w.complaints = append(w.complaints, fmt.Sprintf("console.%s: %v", e.Type, e.Args))
	case *runtime.EventExceptionThrown:
		w.complaints = append(w.complaints, "exception: "+e.ExceptionDetails.Text)
	case *log.EventEntryAdded:
		w.complaints = append(w.complaints, fmt.Sprintf("log: %s: %s", e.Entry.Level, e.Entry.Text))
	case *network.EventRequestWillBeSent:
		w.requests = append(w.requests, e.Request.URL)
	}
}

// take returns what was seen since the last call.
func (w *watch) take() (complaints, requests []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	complaints, requests = w.complaints, w.requests
	w.complaints, w.requests = nil, nil
	return complaints, requests
}

// startedBrowser is closed when the test ends.
func startedBrowser(t *testing.T, w *watch) *browser {
	t.Helper()
	b, err := startBrowser(t.Context(), w.see)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// look waits until the page has laid itself out and drawn, and looks at it.
func look(t *testing.T, b *browser) seen {
	t.Helper()
	frames := `new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))`
	if _, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](frames, chromedp.EvalAwaitPromise)); err != nil {
		t.Fatal(err)
	}
	s, err := chromedp.Run(b.ctx, chromedp.Evaluate[seen](probe))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestReportInChromium(t *testing.T) {
	var w watch
	b := startedBrowser(t, &w)
	defer func() {
		if err := b.close(); err != nil {
			t.Errorf("the browser did not end well: %v", err)
		}
	}()
	p, err := newPage(samples())
	if err != nil {
		t.Fatal(err)
	}
	address, err := fileURL(writtenFile(t, samples()...))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		size  [2]int64
		order [2]string // of themes: that in which the page is opened, and that to which it is switched
	}{
		{[2]int64{360, 740}, [2]string{"light", "dark"}},
		{[2]int64{1280, 900}, [2]string{"dark", "light"}},
	} {
		t.Run(fmt.Sprintf("%d×%d", c.size[0], c.size[1]), func(t *testing.T) {
			check(t, b, &w, address, c.size, c.order, len(p.charts()))
		})
	}
}

// check opens the page in one theme, looks at it, changes the theme, and looks again.
func check(t *testing.T, b *browser, w *watch, address string, size [2]int64, order [2]string, charts int) {
	w.take()
	if err := errors.Join(b.theme(order[0]), chromedp.Do(b.ctx, chromedp.EmulateViewport(size[0], size[1])), b.open(address)); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Run(b.ctx, chromedp.Evaluate[int](`document.querySelectorAll("details").forEach((d) => { d.open = true; }); 1`)); err != nil {
		t.Fatal(err)
	}
	before := look(t, b)
	if err := b.theme(order[1]); err != nil {
		t.Fatal(err)
	}
	after := look(t, b)
	screenshot(t, b, fmt.Sprintf("%d-%s", size[0], order[1]))
	for i, s := range []seen{before, after} {
		for _, wrong := range s.Wrong {
			t.Errorf("%s: %s", order[i], wrong)
		}
		if s.Charts != charts || s.Tables < charts {
			t.Errorf("%s: %d charts and %d rows of tables, want %d charts with rows each", order[i], s.Charts, s.Tables, charts)
		}
	}
	for i := range min(len(before.Draws), len(after.Draws)) {
		if after.Draws[i] <= before.Draws[i] {
			t.Errorf("chart %d was not drawn again when the theme changed", i)
		}
	}
	if before.Background == after.Background || before.Ink == after.Ink {
		t.Errorf("%s and %s look alike: background %s, ink %s", order[0], order[1], after.Background, after.Ink)
	}
	complaints, requests := w.take()
	for _, c := range complaints {
		t.Errorf("the page complained: %s", c)
	}
	if len(requests) != 1 || requests[0] != address {
		t.Errorf("the page asked for %q, want itself alone", requests)
	}
}

// screenshot keeps a picture of the page where SCREENSHOTS says, for those who want to look at it.
func screenshot(t *testing.T, b *browser, name string) {
	t.Helper()
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		return
	}
	if _, err := chromedp.Run(b.ctx, chromedp.Evaluate[int](`document.querySelectorAll("details").forEach((d) => { d.open = false; }); 1`)); err != nil {
		t.Fatal(err)
	}
	png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestImages(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "images")
	compared := sampleCompare()
	compared.Compare.Rows = compared.Compare.Rows[:2]
	docs := []*result.Document{compared, sampleChaos()}
	told, last := 0, 0.0
	n, err := Images(t.Context(), writtenFile(t, docs...), dir, func(share float64, what string) {
		if share < last || share > 1 || what == "" {
			t.Errorf("progress from %v to %v, %q", last, share, what)
		}
		told, last = told+1, share
	})
	if err != nil {
		t.Fatal(err)
	}
	if told < n || last != 1 {
		t.Errorf("progress was told %d times of %d pictures, and came to %v", told, n, last)
	}
	p, err := newPage(docs)
	if err != nil {
		t.Fatal(err)
	}
	if want := 2 * len(p.charts()); n != want {
		t.Errorf("%d pictures, want %d", n, want)
	}
	pictures := make(map[string]string)
	for _, theme := range themes {
		text, err := os.ReadFile(filepath.Join(dir, "local-hit-"+theme+".svg"))
		if err != nil {
			t.Fatal(err)
		}
		pictures[theme] = string(text)
		for d := xml.NewDecoder(strings.NewReader(string(text))); ; {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("the %s picture is no XML: %v", theme, err)
			}
		}
		for _, want := range []string{"doppio", "What a local hit costs", "<path"} {
			if !strings.Contains(pictures[theme], want) {
				t.Errorf("the %s picture lacks %q", theme, want)
			}
		}
	}
	if pictures["light"] == pictures["dark"] {
		t.Error("light and dark are the same picture")
	}
}
