package report

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/chromedp/chromedp"
)

// imageWidth is that of pictures, as wide as a README.
const imageWidth = 820

// themes that pictures are made for.
var themes = []string{"light", "dark"}

// Images draws every chart of a page that [Write] wrote as SVG files, light and dark, into a directory, which is made where there is
// none: local-hit-light.svg and so on. It returns how many it wrote. progress, if not nil, hears which share is done and what comes
// next. It needs a Chromium, else the error is ErrNoChromium.
func Images(ctx context.Context, page, dir string, progress func(share float64, what string)) (n int, err error) {
	if progress == nil {
		progress = func(float64, string) {}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, fmt.Errorf("report: %w", err)
	}
	address, err := fileURL(page)
	if err != nil {
		return 0, err
	}
	progress(0, "start Chromium")
	b, err := startBrowser(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.open(address); err != nil {
		return 0, err
	}
	for i, theme := range themes {
		if err := b.theme(theme); err != nil {
			return n, err
		}
		ids, err := chromedp.Run(b.ctx, chromedp.Evaluate[[]string](`doppioReport.ids`))
		if err != nil {
			return n, fmt.Errorf("report: images: %w", err)
		}
		for j, id := range ids { // ids hold a to z, digits and dashes only
			progress((float64(i)+float64(j)/float64(len(ids)))/float64(len(themes)), id+", "+theme)
			svg, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](fmt.Sprintf(`doppioReport.svg(%q, %d)`, id, imageWidth)))
			if err != nil {
				return n, fmt.Errorf("report: image of %s: %w", id, err)
			}
			if !strings.HasPrefix(svg, "<svg") {
				return n, fmt.Errorf("report: image of %s: the page drew no SVG", id)
			}
			if err := os.WriteFile(filepath.Join(dir, id+"-"+theme+".svg"), []byte(svg), 0o644); err != nil {
				return n, fmt.Errorf("report: %w", err)
			}
			n++
		}
	}
	progress(1, "end Chromium")
	return n, nil
}

// fileURL is the address of a file on this machine.
func fileURL(path string) (string, error) {
	whole, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("report: %w", err)
	}
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(whole)}).String(), nil
}
