package result

import (
	"bufio"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
)

// Environment is where a measurement was made. It names no host, no user and no path.
type Environment struct {
	CPU        string            `json:"cpu"`
	Cores      int               `json:"cores"`
	GOMAXPROCS int               `json:"gomaxprocs"`
	OS         string            `json:"os"`
	Arch       string            `json:"arch"`
	Go         string            `json:"go"`
	Revision   string            `json:"revision,omitempty"` // of the harness, where the build knows it
	Server     string            `json:"server,omitempty"`   // "Redis 7.0.15"
	Modules    map[string]string `json:"modules"`            // versions of what was linked
}

// ThisEnvironment describes this process. server is what it says it is, "Redis 7.0.15", or empty.
func ThisEnvironment(server string) Environment {
	e := Environment{
		CPU: cpuModel(), Cores: runtime.NumCPU(), GOMAXPROCS: runtime.GOMAXPROCS(0),
		OS: runtime.GOOS, Arch: runtime.GOARCH, Go: runtime.Version(), Server: server, Modules: make(map[string]string),
	}
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return e
	}
	for _, m := range build.Deps {
		if m.Replace != nil {
			continue // the library itself: its revision tells
		}
		e.Modules[m.Path] = m.Version
	}
	if i := slices.IndexFunc(build.Settings, func(s debug.BuildSetting) bool { return s.Key == "vcs.revision" }); i >= 0 {
		e.Revision = build.Settings[i].Value
	}
	return e
}

// cpuModel is the processor's name, where the system tells.
func cpuModel() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}
