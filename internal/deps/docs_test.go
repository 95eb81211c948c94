package deps

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/doppio-cache/doppio/tiered"
)

// telemetryName is a metric, a span, or an attribute as OpenTelemetry has it, or as Prometheus writes it. A file's ending
// or an address is none.
var telemetryName = regexp.MustCompile("`(doppio[._][a-z_.-]+)(?:\\{[^`]*\\})?`")

// operation is what a span of the remote tier is named after.
var operation = regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)

// Every document is held to the code: a metric, a span or a counter that it names must exist.
func TestDocs_nameTelemetryThatExists(t *testing.T) {
	names, fields := telemetry(t)
	if !names["doppio.local.hits"] || !names["doppio.load"] || !fields["PendingAge"] || !fields["LocalHits"] {
		t.Fatalf("the code's own names are not found: %d names, %d fields", len(names), len(fields))
	}
	statsField := regexp.MustCompile("`(?:Local|Cache|Lane)?Stats\\.([A-Z][A-Za-z]*)(?:\\[[^`]*)?`")
	for path, doc := range documents(t) {
		for _, problem := range unknownTelemetry(doc, names) {
			t.Errorf("%s names %s, which does not exist", path, problem)
		}
		for _, m := range statsField.FindAllStringSubmatch(doc, -1) {
			if !fields[m[1]] {
				t.Errorf("%s names Stats.%s, which does not exist", path, m[1])
			}
		}
	}
	for doc, want := range map[string]int{
		"`doppio.local.hits` and `doppio_local_hits_total{doppio_cache=\"a\"}`": 0,
		"`doppio.local.strike`":                           1,
		"`doppio_pending_weight`":                         1,
		"`doppio.remote.get`":                             0,
		"`doppio.remote.brew`":                            1,
		"`doppio_pending_age_seconds` by `doppio_reason`": 0,
	} {
		if got := unknownTelemetry(doc, names); len(got) != want {
			t.Errorf("of %s it does not know %q", doc, got)
		}
	}
}

// unknownTelemetry returns the names in doc that the code does not have.
func unknownTelemetry(doc string, names map[string]bool) []string {
	var out []string
	for _, m := range telemetryName.FindAllStringSubmatch(doc, -1) {
		name := strings.ReplaceAll(m[1], "_", ".")
		known := names[name]
		for _, unit := range []string{".total", ".seconds", ".ratio", ".bytes"} { // which an exporter to Prometheus adds
			known = known || strings.Contains(m[1], "_") && names[strings.TrimSuffix(name, unit)]
		}
		if !known {
			out = append(out, m[1])
		}
	}
	return out
}

// telemetry returns the names of telemetry that occur in the code of the library, and the fields of its statistics.
func telemetry(t *testing.T) (names, fields map[string]bool) {
	t.Helper()
	names, fields = make(map[string]bool), make(map[string]bool)
	for _, dir := range []string{"tiered", "remote", "local", "invalidation"} {
		files, err := filepath.Glob(filepath.Join("..", "..", dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.BasicLit:
					s, err := strconv.Unquote(n.Value)
					switch {
					case err != nil || n.Kind != token.STRING:
					case strings.HasPrefix(s, "doppio."):
						names[s] = true
					case dir == "remote" && operation.MatchString(s): // remote adds it to the prefix of its spans
						names["doppio.remote."+s] = true
					}
				case *ast.TypeSpec:
					if s, ok := n.Type.(*ast.StructType); ok && strings.HasSuffix(n.Name.Name, "Stats") {
						for _, f := range s.Fields.List {
							for _, name := range f.Names {
								fields[name.Name] = true
							}
						}
					}
				}
				return true
			})
		}
	}
	return names, fields
}

// documents returns every Markdown file of the repository.
func documents(t *testing.T) map[string]string {
	t.Helper()
	root := filepath.Join("..", "..")
	out := make(map[string]string)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "out" || d.Name() == "bin"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".md"):
			return nil
		}
		doc, err := os.ReadFile(path)
		out[path] = string(doc)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// gutterSpan is how long Gutter keeps what is loaded, as every document says it. tiered has the test that it is true.
const gutterSpan = "for 1 s, or three quarters of `MaxStaleness` if that is less, from the begin of the load"

// The gutter's span was once said in three ways.
func TestDocs_agreeOnTheGutter(t *testing.T) {
	if tiered.DefaultGutterTTL != time.Second {
		t.Errorf("the documents say 1 s, DefaultGutterTTL is %v", tiered.DefaultGutterTTL)
	}
	root := filepath.Join("..", "..")
	for _, path := range []string{"README.md", "docs/coherence.md", "docs/guarantees.md"} {
		doc, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(path)))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(doc), gutterSpan) {
			t.Errorf("%s does not say that Gutter keeps a load %s", path, gutterSpan)
		}
	}
	said := regexp.MustCompile(`(?i)gutter[^.;|]{0,60} (for a second|for min\([^)]*\)|for [0-9]+ ?m?s)`)
	for path, doc := range documents(t) {
		for _, m := range said.FindAllString(strings.ReplaceAll(doc, gutterSpan, ""), -1) {
			t.Errorf("%s says it in another way: %q", path, m)
		}
	}
}
