package report

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"strings"

	"github.com/doppio-cache/doppio/bench/internal/result"
)

//go:embed assets/page.html.gotmpl assets/report.css assets/report.js assets/echarts.common.min.js
var assets embed.FS

// Write writes the page of these documents.
func Write(w io.Writer, docs []*result.Document) error {
	p, err := newPage(docs)
	if err != nil {
		return err
	}
	files := make(map[string]string)
	for _, name := range []string{"page.html.gotmpl", "report.css", "report.js", "echarts.common.min.js"} {
		text, err := assets.ReadFile("assets/" + name)
		if err != nil {
			return fmt.Errorf("report: %w", err)
		}
		files[name] = string(text)
	}
	t, err := template.New("page").Parse(files["page.html.gotmpl"])
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	data, err := json.Marshal(struct {
		Charts []*chart `json:"charts"`
	}{p.charts()}) // which writes <, > and & as escapes, so that no text can end the script element
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	script, echarts, style := files["report.js"], files["echarts.common.min.js"], files["report.css"]
	var page bytes.Buffer
	err = t.Execute(&page, map[string]any{
		"Page": p, "Policy": policy(style, echarts, script),
		"Style": template.CSS(style), "Data": template.JS(data), "ECharts": template.JS(echarts), "Script": template.JS(script),
	})
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if _, err := w.Write(bytes.TrimLeft(page.Bytes(), "\n")); err != nil {
		return fmt.Errorf("report: write: %w", err)
	}
	return nil
}

// policy forbids everything but the page's own style and scripts. Elements may have style attributes, which the charts and their
// tooltips set.
func policy(style string, scripts ...string) string {
	hash := func(s string) string {
		sum := sha256.Sum256([]byte(s))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	var allowed []string
	for _, s := range scripts {
		allowed = append(allowed, hash(s))
	}
	return "default-src 'none'; script-src " + strings.Join(allowed, " ") + "; style-src-elem " + hash(style) +
		"; style-src-attr 'unsafe-inline'; base-uri 'none'; form-action 'none'"
}
