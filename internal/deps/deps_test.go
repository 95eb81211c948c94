// Package deps_test keeps the module's imports what docs/architecture.md says they are: which strangers a user's
// binary links, and which package may know which.
package deps_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/doppio-cache/doppio"

// root is the module's folder.
const root = "../.."

// public are the packages that users link. Each has to exist.
var public = []string{"tiered", "local", "remote", "invalidation"}

// allowed names every module that the public packages may link, and why. An entry that nothing needs any more
// fails the test, as does a module without an entry.
var allowed = map[string]string{
	"github.com/dgraph-io/ristretto/v2": "the local tier's default engine",
	"github.com/cespare/xxhash/v2":      "ristretto and go-redis hash with it, and so does internal/keyhash",
	"github.com/dustin/go-humanize":     "ristretto prints its metrics with it",
	"golang.org/x/sys":                  "ristretto and xxhash ask for the processor's features",
	"github.com/maypok86/otter/v2":      "the local tier's other engine",

	"github.com/redis/go-redis/v9": "the remote tier's client",
	"go.uber.org/atomic":           "go-redis",

	"golang.org/x/sync": "tiered joins simultaneous loads of one key",

	"github.com/go-json-experiment/json":  "the default codec",
	"github.com/vmihailenco/msgpack/v5":   "the MessagePack codec",
	"github.com/vmihailenco/tagparser/v2": "msgpack reads struct tags with it",
	"google.golang.org/protobuf":          "the Protocol Buffers codec",
	"github.com/klauspost/compress":       "zstd and s2 compression of values",

	"go.opentelemetry.io/otel":        "metrics and traces, when the user configures them",
	"go.opentelemetry.io/otel/log":    "otel links it",
	"go.opentelemetry.io/otel/metric": "the metrics' interfaces",
	"go.opentelemetry.io/otel/trace":  "the traces' interfaces",
	"go.opentelemetry.io/auto/sdk":    "otel/trace hands spans to automatic instrumentation",
	"github.com/go-logr/logr":         "otel's internal log",
	"github.com/go-logr/stdr":         "otel's internal log",
}

// forbidden are packages of the standard library with effects on whoever links them: flags, handlers, variables.
var forbidden = []string{"testing", "net/http/pprof", "expvar"}

// mayImport says which folders of this module the packages under a folder may import, tests aside. The longest
// prefix counts. A folder may always import what is under itself.
var mayImport = map[string][]string{
	"tiered":               {"local", "remote", "invalidation", "internal/coalesce", "internal/coherence", "internal/codec", "internal/flight", "internal/guard", "internal/keyhash", "internal/lane", "internal/topology"},
	"tiered/tieredtest":    {"tiered", "local", "remote", "invalidation", "internal/codec", "internal/keyhash"},
	"local":                {"internal/keyhash"},
	"remote":               {"internal/guard", "internal/keyhash", "internal/lane", "internal/luascript", "internal/patient", "internal/topology"},
	"invalidation":         {"internal/guard", "internal/keyhash", "internal/lane", "internal/luascript", "internal/patient", "internal/topology"},
	"internal/patient":     {},
	"internal/alloctest":   {},
	"internal/lane":        {},
	"internal/luascript":   {},
	"internal/topology":    {"internal/lane", "internal/patient"},
	"internal/coalesce":    {},
	"internal/flight":      {},
	"internal/coherence":   {"local", "remote", "invalidation", "internal/coalesce", "internal/guard", "internal/keyhash", "internal/lane", "internal/topology"},
	"internal/guard":       {},
	"internal/history":     {},
	"internal/harness":     {"tiered", "internal/child", "internal/history"},
	"internal/fault":       {"internal/harness"},
	"internal/attack":      {},
	"internal/codec":       {"internal/keyhash"},
	"internal/keyhash":     {},
	"internal/child":       {},
	"internal/redistest":   {"internal/child"},
	"internal/deps":        {},
	"internal/conformance": {"tiered", "local", "remote", "invalidation", "internal"},
}

// pkg is what `go list -json` says of a package, as far as it matters here.
type pkg struct {
	ImportPath   string
	Standard     bool
	Module       *struct{ Path string }
	Imports      []string
	TestImports  []string
	XTestImports []string
}

// folder is where the package lives in this module, or "" for strangers.
func (p pkg) folder() string { return folder(p.ImportPath) }

func folder(importPath string) string {
	f, ok := strings.CutPrefix(importPath, module+"/")
	if !ok {
		return ""
	}
	return f
}

func under(folder, parent string) bool {
	return folder == parent || strings.HasPrefix(folder, parent+"/")
}

func underAny(folder string, parents []string) bool {
	return slices.ContainsFunc(parents, func(p string) bool { return under(folder, p) })
}

// platforms link different files.
var platforms = []string{"linux", "darwin", "windows"}

func list(t *testing.T, goos string, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Standard,Module,Imports,TestImports,XTestImports"}, args...)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH=amd64", "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, &stderr)
	}
	var pkgs []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

// noteSources makes go test run again when a source file changes: it remembers results by the files that a test
// itself has looked at, and not by those that the go command it runs has.
func noteSources(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && (strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "go.mod")) {
			_, err = os.Stat(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// publicPatterns are the public packages, tests' helpers aside: users' binaries do not link those.
func publicPatterns(t *testing.T) []string {
	t.Helper()
	var patterns []string
	found := make(map[string]bool)
	for _, p := range list(t, "linux", "./...") {
		if f := p.folder(); underAny(f, public) && !under(f, "tiered/tieredtest") {
			patterns = append(patterns, p.ImportPath)
			found[f] = true
		}
	}
	for _, f := range public {
		if !found[f] {
			t.Errorf("there is no package %s", f)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	return patterns
}

func TestImports_publicPackagesLinkOnlyWhatIsAllowed(t *testing.T) {
	t.Parallel()
	noteSources(t)
	patterns := publicPatterns(t)
	needed := make(map[string]bool)
	for _, goos := range platforms {
		importers := make(map[string][]string) // of what is wrong, to name the culprit
		pkgs := list(t, goos, append([]string{"-deps"}, patterns...)...)
		for _, p := range pkgs {
			for _, imported := range p.Imports {
				importers[imported] = append(importers[imported], p.ImportPath)
			}
		}
		for _, p := range pkgs {
			switch {
			case p.Standard:
				if slices.Contains(forbidden, p.ImportPath) {
					t.Errorf("%s: %s is linked, by %v", goos, p.ImportPath, importers[p.ImportPath])
				}
			case p.Module == nil:
				t.Errorf("%s: %s belongs to no module", goos, p.ImportPath)
			case p.Module.Path == module:
			case allowed[p.Module.Path] == "":
				t.Errorf("%s: %s is linked, by %v: give a reason in the list of allowed modules, or do without",
					goos, p.ImportPath, importers[p.ImportPath])
			default:
				needed[p.Module.Path] = true
			}
		}
	}
	for _, m := range slices.Sorted(maps.Keys(allowed)) {
		if !needed[m] {
			t.Errorf("%s is allowed but nothing needs it any more: take it off the list", m)
		}
	}
}

func TestImports_goOneWay(t *testing.T) {
	t.Parallel()
	noteSources(t)
	for _, p := range list(t, "linux", "./...") {
		f := p.folder()
		rule, ok := ruleFor(f)
		if !ok {
			t.Errorf("%s: no rule says what it may import: add it here and to docs/architecture.md", f)
			continue
		}
		for _, imported := range p.Imports {
			to := folder(imported)
			if to == "" || under(to, rule) || underAny(to, mayImport[rule]) {
				continue
			}
			t.Errorf("%s imports %s: %s may import %v", f, to, rule, mayImport[rule])
		}
		for _, imported := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if under(folder(imported), "bench") || under(folder(imported), "tools") {
				t.Errorf("%s imports %s of a nested module", f, imported)
			}
		}
	}
}

// ruleFor returns the longest key of mayImport that f is under.
func ruleFor(f string) (rule string, ok bool) {
	for key := range mayImport {
		if under(f, key) && len(key) >= len(rule) {
			rule, ok = key, true
		}
	}
	return rule, ok
}

// Only tieredtest may bring a test's tools to a package that users import.
func TestImports_onlyTieredtestHasTestTools(t *testing.T) {
	t.Parallel()
	noteSources(t)
	for _, p := range list(t, "linux", "./...") {
		f := p.folder()
		if under(f, "internal") || under(f, "tiered/tieredtest") {
			continue
		}
		for _, imported := range p.Imports {
			if imported == "testing" || strings.HasPrefix(imported, "testing/") ||
				strings.HasPrefix(imported, "github.com/alicebob/miniredis/") || under(folder(imported), "internal/redistest") {
				t.Errorf("%s imports %s outside of its tests", f, imported)
			}
		}
	}
}
