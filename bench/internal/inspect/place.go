package inspect

import (
	"errors"
	"fmt"
	"strings"

	"github.com/doppio-cache/doppio/internal/keyhash"
)

// Place is where an entry lies.
type Place struct{ Namespace, Cache, Key string }

// ErrPlace reports a place that no entry can have.
var ErrPlace = errors.New("inspect: no entry can be there")

// ParsePlace splits the key of an entry in Redis, namespace:cache:key.
func ParsePlace(remoteKey string) (Place, error) {
	namespace, rest, _ := strings.Cut(remoteKey, ":")
	name, key, ok := strings.Cut(rest, ":")
	p := Place{Namespace: namespace, Cache: name, Key: key}
	if !ok {
		return Place{}, fmt.Errorf("%w: %.80q is not namespace:cache:key", ErrPlace, remoteKey)
	}
	return p, p.validate()
}

func (p Place) validate() error {
	var faults []error
	for _, n := range []struct{ field, name string }{{"namespace", p.Namespace}, {"cache", p.Cache}} {
		if !goodName(n.name) {
			faults = append(faults, fmt.Errorf("%w: %s %.80q is empty, or holds one of :{}*?[]\\", ErrPlace, n.field, n.name))
		}
	}
	if p.Key == "" {
		faults = append(faults, fmt.Errorf("%w: the key is empty", ErrPlace))
	}
	return errors.Join(faults...)
}

func goodName(name string) bool { return name != "" && !strings.ContainsAny(name, ":{}*?[]\\") }

// remoteKey is the entry's key in Redis, as package tiered forms it.
func (p Place) remoteKey() string { return p.scope() + p.Key }

func (p Place) scope() string { return p.Namespace + ":" + p.Cache + ":" }

// tagKey is where the version of a tag lies.
func (p Place) tagKey(tag string) string { return p.Namespace + "::tag:" + p.Cache + ":" + tag }

// hash is what messages name the entry by; seed, what they name the cache by.
func (p Place) hash() uint64 { return keyhash.Sum(p.seed(), p.Key) }

func (p Place) seed() uint64 { return keyhash.Seed(p.scope()) }
