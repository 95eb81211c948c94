package report

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// ErrNoChromium says that there is no browser to draw with.
var ErrNoChromium = errors.New("there is no Chromium: install chromium (or google-chrome), or name it in the environment variable CHROMIUM")

// closing is how long a browser may take to end when it is asked to, before it is killed.
const closing = 10 * time.Second

// findChromium looks where CHROMIUM says, then on PATH.
func findChromium() (string, error) {
	names := []string{"chromium", "chromium-browser", "google-chrome"}
	if given := os.Getenv("CHROMIUM"); given != "" {
		names = []string{given}
	}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("report: %w", ErrNoChromium)
}

// browser is a headless Chromium with a profile of its own. Its owner calls close, which waits for its processes.
type browser struct {
	ctx     context.Context // of its one tab
	cancel  context.CancelFunc
	profile string
}

// startBrowser starts a Chromium that lives until close, or until ctx ends. Whatever its tab does, see is told.
func startBrowser(ctx context.Context, see func(event any)) (*browser, error) {
	path, err := findChromium()
	if err != nil {
		return nil, err
	}
	profile, err := os.MkdirTemp("", "doppio-report-")
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path), chromedp.UserDataDir(profile), chromedp.CombinedOutput(io.Discard),
		chromedp.Headless, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck,
	}
	for _, flag := range []string{"disable-quic", "disable-background-networking", "disable-component-update", "disable-sync", "disable-dev-shm-usage", "disable-extensions", "hide-scrollbars"} {
		options = append(options, chromedp.Flag(flag, true))
	}
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium refuses to run as root with one
	}
	allocator, free := chromedp.NewExecAllocator(ctx, options...)
	var listen []chromedp.ContextOption
	if see != nil {
		listen = append(listen, chromedp.WithListener(see))
	}
	tab, closeTab := chromedp.NewContext(allocator, listen...)
	b := &browser{ctx: tab, profile: profile, cancel: func() { closeTab(); free() }} // free waits for the process
	if err := chromedp.Do(tab); err != nil {
		return nil, errors.Join(fmt.Errorf("report: start %s: %w", path, err), b.close())
	}
	return b, nil
}

// close ends the browser, waits for it, and removes its profile.
func (b *browser) close() error {
	limited, stop := context.WithTimeout(b.ctx, closing)
	err := chromedp.Cancel(limited)
	stop()
	b.cancel()
	if errors.Is(err, context.Canceled) {
		err = nil // it was ended by its context already
	}
	return errors.Join(err, os.RemoveAll(b.profile))
}

// open shows a file and waits until its charts are drawn.
func (b *browser) open(url string) error {
	if err := chromedp.Do(b.ctx, chromedp.Navigate(url)); err != nil {
		return fmt.Errorf("report: open: %w", err)
	}
	ready, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](`document.documentElement.dataset.ready === "true"`))
	if err != nil {
		return fmt.Errorf("report: open: %w", err)
	}
	if !ready {
		return errors.New("report: open: the page's script did not come to its end")
	}
	return nil
}

// theme makes the page light or dark.
func (b *browser) theme(name string) error {
	params := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}}
	if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, params); err != nil {
		return fmt.Errorf("report: theme: %w", err)
	}
	return nil
}
