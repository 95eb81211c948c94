package replay

import (
	"fmt"
	"slices"
	"strings"
)

// Policy is a way to choose what a cache of some entries holds.
type Policy struct {
	Name  string
	About string

	// exact policies are computed, not run.
	exact exact
	// open makes a cache of a size.
	open func(size int) (store, error)
	// alone says that the cache has goroutines of its own, whose pace may tell in its hit ratio.
	alone bool
	// least is the smallest size that the cache takes; 0: any. It has no points below.
	least int
}

type exact uint8

const (
	run exact = iota
	lru
	optimum
)

// store is a cache as a replay uses it: a request gets, and sets if it missed.
type store interface {
	get(name string) bool
	set(name string)
	close() error
}

// Policies are all that can be replayed, in the order in which they are shown.
func Policies() []Policy {
	return []Policy{
		{Name: "doppio/ristretto", About: "the local tier with its default engine, at full speed", open: openDoppioRistretto, alone: true},
		{Name: "doppio/otter", About: "the local tier with the engine that the docs advise where hit ratio matters, at full speed", open: openDoppioOtter, alone: true},
		{Name: "ristretto", About: "bare, at full speed", open: openRistretto, alone: true},
		{Name: "ristretto, paced", About: "bare, with a Wait for its queue and 20 µs more after every miss", open: openPacedRistretto, alone: true},
		{Name: "otter", About: "bare, at full speed", open: openOtter, alone: true},
		{Name: "theine", About: "at full speed", open: openTheine, alone: true},
		{Name: "sturdyc", About: "evicts a tenth of a shard when it is full", open: openSturdyc},
		{Name: "go-redis/cache", About: "its local TinyLFU", open: openTinyLFU, least: tinyLFULeast},
		{Name: "LRU", About: "exact, every size in one pass by stack distances", exact: lru},
		{Name: "optimum", About: "Belady's MIN, which knows the future and may refuse a key: no cache of the size does better", exact: optimum},
	}
}

// PolicyNames lists the names of all.
func PolicyNames() []string {
	var names []string
	for _, p := range Policies() {
		names = append(names, p.Name)
	}
	return names
}

// ListedNames lists the names as a list takes them, in which commas part.
func ListedNames() []string {
	names := PolicyNames()
	for i, name := range names {
		names[i] = strings.ReplaceAll(name, ", ", "-")
	}
	return names
}

// PoliciesNamed returns those that a list names, or all for an empty list. Names are compared without case, and spaces and
// commas within them may be left out: lists are separated by commas.
func PoliciesNamed(list string) ([]Policy, error) {
	all := Policies()
	if strings.TrimSpace(list) == "" {
		return all, nil
	}
	plain := func(s string) string {
		return strings.NewReplacer(" ", "", ",", "", "-", "").Replace(strings.ToLower(s))
	}
	var chosen []Policy
	for _, name := range strings.Split(list, ",") {
		i := slices.IndexFunc(all, func(p Policy) bool { return plain(p.Name) == plain(name) })
		if i < 0 {
			return nil, fmt.Errorf("replay: no policy %q: want some of %s", strings.TrimSpace(name), strings.Join(ListedNames(), ", "))
		}
		if !slices.ContainsFunc(chosen, func(p Policy) bool { return p.Name == all[i].Name }) {
			chosen = append(chosen, all[i])
		}
	}
	return chosen, nil
}
