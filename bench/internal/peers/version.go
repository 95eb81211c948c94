package peers

import (
	"runtime/debug"
	"sync"

	"github.com/doppio-cache/doppio/bench/internal/result"
)

// versions are those of the modules that this program was built with. A module that is replaced by a folder has none.
var versions = sync.OnceValue(func() map[string]string {
	found := make(map[string]string)
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return found
	}
	for _, m := range build.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		found[m.Path] = m.Version
	}
	return found
})

// subject describes a library. The version is empty where the build does not tell.
func subject(name, module, about string) result.Subject {
	return result.Subject{Name: name, Module: module, Version: versions()[module], About: about}
}
