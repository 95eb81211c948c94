package replay

import (
	"github.com/doppio-cache/doppio/local"
)

// doppio is the local tier as its users get it: what waits to be applied is readable, and a burst is slowed, not dropped.
type doppio struct{ cache *local.Cache[uint32] }

func openDoppioRistretto(size int) (store, error) { return openDoppio(size, local.Ristretto) }
func openDoppioOtter(size int) (store, error)     { return openDoppio(size, local.Otter) }

func openDoppio(size int, engine local.EngineKind) (store, error) {
	c, err := local.NewCache[uint32](local.Options{MaxEntries: int64(size), Engine: engine})
	if err != nil {
		return nil, err
	}
	return doppio{c}, nil
}

func (d doppio) get(name string) bool { _, ok := d.cache.Get(name); return ok }
func (d doppio) set(name string)      { d.cache.Set(name, 0, local.NoExpiration) }
func (d doppio) close() error         { return d.cache.Close() }
func (d doppio) held() int            { return d.cache.Len() }
