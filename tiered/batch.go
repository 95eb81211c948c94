package tiered

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/doppio-cache/doppio/internal/coherence"
	"github.com/doppio-cache/doppio/remote"
)

// Item is one entry of SetMany. A TTL of 0 is the cache's default.
type Item[V any] struct {
	Key   string
	Value V
	TTL   time.Duration
	Tags  []string
}

// GetMany gives the values under keys; those that are not found are absent from the map. What
// failed is in a *BatchError, beside what was found: one MGET where one server holds all keys,
// pipelined GETs on a Cluster.
func (c *Cache[V]) GetMany(ctx context.Context, keys []string) (map[string]V, error) {
	out, err := c.getMany(ctx, keys)
	return out, c.shared.fault("GetMany", err)
}

func (c *Cache[V]) getMany(ctx context.Context, keys []string) (map[string]V, error) {
	out := make(map[string]V, len(keys))
	var failed failures
	var missing []string
	var hashes []uint64
	until := c.shared.client.patienceOfReads()
	for _, key := range keys {
		hash := c.shared.hash(key)
		n := c.lookupLocal(ctx, hash, key)
		switch n.state {
		case hit, dueHit:
			out[key] = *n.value
		case negativeHit:
		default:
			if err := c.shared.checkKey(key); err != nil {
				failed.add(key, err)
				continue
			}
			if !c.shared.client.opts.Disabled {
				if err := c.shared.validity.Blocked(ctx, until, hash); err != nil {
					c.shared.countRemoteError(err)
					failed.add(key, err)
					continue
				}
			}
			missing = append(missing, key)
			hashes = append(hashes, hash)
		}
	}
	if len(missing) == 0 || c.shared.client.opts.Disabled {
		return out, failed.err()
	}
	views := c.shared.views(hashes)
	defer endAll(views)
	points := make([]coherence.Point, len(hashes))
	for i, hash := range hashes {
		points[i] = c.shared.point(hash)
	}
	if err := c.shared.validity.CatchUp(ctx, c.after, c.shared.validity.AllLanes()...); err != nil {
		c.shared.countRemoteError(err)
		for _, key := range missing {
			failed.add(key, err)
		}
		return out, failed.err()
	}
	results := c.shared.client.remote.GetMany(ctx, c.shared.remoteKeys(missing))
	known := c.shared.versionsOf(ctx, results)
	now := time.Now()
	for i, r := range results {
		v, err := c.serveRemote(ctx, &views[i], now, missing[i], points[i], &r.Record, r.Err, known)
		switch {
		case err == nil:
			out[missing[i]] = *v
		case !errors.Is(err, ErrNotFound):
			failed.add(missing[i], err)
		}
	}
	return out, failed.err()
}

// remoteKeys gives the keys as Redis has them, cut from one string.
func (s *shared[V]) remoteKeys(keys []string) []string {
	size := 0
	for _, k := range keys {
		size += len(s.prefix) + len(k)
	}
	var b strings.Builder
	b.Grow(size)
	for _, k := range keys {
		b.WriteString(s.prefix)
		b.WriteString(k)
	}
	all, out := b.String(), make([]string, len(keys))
	for i, k := range keys {
		n := len(s.prefix) + len(k)
		out[i], all = all[:n], all[n:]
	}
	return out
}

// SetMany stores items, each as Set does, pipelined. It gives how many were stored, and a
// *BatchError naming the others. Of items with the same key the last counts.
func (c *Cache[V]) SetMany(ctx context.Context, items []Item[V]) (int, error) {
	stored, err := c.setMany(ctx, items)
	return stored, c.shared.fault("SetMany", err)
}

func (c *Cache[V]) setMany(ctx context.Context, items []Item[V]) (int, error) {
	var failed failures
	type change struct {
		item   *Item[V]
		value  *V
		st     settings
		change coherence.Change
		view   *coherence.View
		rec    *remote.Record
		err    error
	}
	last := make(map[string]int, len(items))
	for i := range items {
		last[items[i].Key] = i
	}
	changes := make([]change, 0, len(last))
	for i := range items {
		it := &items[i]
		if last[it.Key] != i {
			continue
		}
		st, err := c.defaults.with([]EntryOption{TTL(it.TTL), Tags(it.Tags...)})
		if err == nil {
			err = c.shared.checkKey(it.Key)
		}
		if err != nil {
			failed.add(it.Key, err)
			continue
		}
		changes = append(changes, change{item: it, st: st})
	}
	if c.shared.client.opts.Disabled {
		return len(changes), failed.err()
	}
	// All changes begin before the versions of their tags are asked for, with one round trip.
	var names []string
	life := time.Duration(-1)
	for i := range changes {
		ch := &changes[i]
		ch.change, ch.err = c.shared.validity.Begin(ctx, coherence.Replace, c.shared.prefix+ch.item.Key, c.shared.hash(ch.item.Key))
		if len(ch.st.tags) > 0 {
			names = append(names, ch.st.tags...)
			life = longerLife(life, tagLife(&ch.st))
		}
	}
	views := make([]coherence.View, len(changes))
	for i := range changes {
		views[i] = c.shared.view(changes[i].change.Hash)
		changes[i].view = &views[i]
	}
	defer endAll(views)
	laneErr := c.shared.client.co.CheckLanes(ctx)
	known, tagErr := c.shared.makeVersions(ctx, names, life)
	sent := changes[:0]
	for _, ch := range changes {
		err := tagErr
		if len(ch.st.tags) == 0 {
			err = nil
		}
		err = cmp.Or(ch.err, laneErr, err)
		if err == nil {
			ch.rec, ch.value, err = c.shared.encode(ch.item.Key, &ch.item.Value, &ch.st, known.carry(ch.st.tags))
		}
		if err != nil {
			c.shared.finish(ctx, &ch.change, &ch.st, err)
			failed.add(ch.item.Key, err)
			continue
		}
		ch.rec.Stamp, ch.change.Large = ch.change.NewestID(), large(ch.rec)
		sent = append(sent, ch)
	}
	slices.SortStableFunc(sent, func(a, b change) int { return a.change.Lane - b.change.Lane })
	announced := make([]*coherence.Change, len(sent))
	for i := range sent {
		announced[i] = &sent[i].change
	}
	coherence.Announce(announced...)
	writes := make([]remote.Write, len(sent))
	for i, ch := range sent {
		writes[i] = remote.Write{Key: ch.change.Key, Record: ch.rec, Announcement: ch.change.Announcement()}
	}
	stored := 0
	errs := c.shared.client.remote.SetMany(ctx, writes)
	now := time.Now()
	for i, err := range errs {
		ch := &sent[i]
		own, clean := c.shared.finish(ctx, &ch.change, &ch.st, err)
		if err != nil {
			failed.add(ch.item.Key, err)
			continue
		}
		stored++
		c.shared.counts.sets.Add(1)
		if clean {
			// A copy: the item is the caller's, and may hold much more alive.
			v := *ch.value
			c.shared.keep(ch.view, coherence.StoredAs(ch.rec, nil), now, ch.change.Hash, ch.item.Key, &v, own, ch.rec, &ch.st)
		}
	}
	return stored, failed.err()
}

// DeleteMany deletes keys, each as Delete does, pipelined. It gives how many existed in the remote
// tier, and a *BatchError naming those that failed.
func (c *Cache[V]) DeleteMany(ctx context.Context, keys []string) (int, error) {
	existed, err := c.deleteMany(ctx, keys)
	return existed, c.shared.fault("DeleteMany", err)
}

func (c *Cache[V]) deleteMany(ctx context.Context, keys []string) (int, error) {
	keys, failed := c.distinct(keys)
	if c.shared.client.opts.Disabled {
		return 0, failed.err()
	}
	count, laneErr := 0, c.shared.client.co.CheckLanes(ctx)
	for _, keys := range c.byLane(keys) {
		changes, deletions := make([]*coherence.Change, len(keys)), make([]remote.Deletion, len(keys))
		for i, key := range c.shared.remoteKeys(keys) {
			ch, _ := c.shared.validity.Begin(ctx, coherence.Remove, key, c.shared.hash(keys[i]))
			changes[i] = &ch
		}
		coherence.Announce(changes...)
		for i, ch := range changes {
			deletions[i] = remote.Deletion{Key: ch.Key, Floor: c.shared.validity.MinID(ch.Hash), Announcement: ch.Announcement()}
		}
		existed, errs := make([]bool, len(keys)), slices.Repeat([]error{laneErr}, len(keys))
		if laneErr == nil {
			existed, errs = c.shared.client.remote.DeleteMany(ctx, deletions)
		}
		for i, err := range errs {
			c.shared.finish(ctx, changes[i], &c.defaults, err)
			if err != nil {
				failed.add(keys[i], err)
				continue
			}
			c.shared.counts.deletes.Add(1)
			if existed[i] {
				count++
			}
		}
	}
	return count, failed.err()
}

// ExistsMany tells for every key asked for whether there is an entry. Keys that failed are false,
// and in a *BatchError.
func (c *Cache[V]) ExistsMany(ctx context.Context, keys []string) (map[string]bool, error) {
	found, err := c.existsMany(ctx, keys)
	return found, c.shared.fault("ExistsMany", err)
}

func (c *Cache[V]) existsMany(ctx context.Context, keys []string) (map[string]bool, error) {
	out := make(map[string]bool, len(keys))
	for _, key := range keys {
		out[key] = false
	}
	keys, failed := c.distinct(keys)
	if c.shared.client.opts.Disabled {
		return out, failed.err()
	}
	missing, until := keys[:0], c.shared.client.patienceOfReads()
	for _, key := range keys {
		hash := c.shared.hash(key)
		switch c.lookupLocal(ctx, hash, key).state {
		case hit, dueHit:
			out[key] = true
			continue
		case negativeHit:
			continue
		}
		if err := c.shared.validity.Blocked(ctx, until, hash); err != nil {
			c.shared.countRemoteError(err)
			failed.add(key, err)
			continue
		}
		missing = append(missing, key)
	}
	if err := c.shared.validity.CatchUp(ctx, c.after, c.shared.validity.AllLanes()...); err != nil {
		c.shared.countRemoteError(err)
		for _, key := range missing {
			failed.add(key, err)
		}
		return out, failed.err()
	}
	seen := make(map[string]*coherence.View, len(missing))
	views := make([]coherence.View, len(missing))
	defer endAll(views)
	for i, key := range missing {
		views[i] = c.shared.view(c.shared.hash(key))
		seen[key] = &views[i]
	}
	var tagged []string
	for _, keys := range c.byLane(missing) {
		found, errs := c.shared.client.remote.StatMany(ctx, c.shared.remoteKeys(keys), c.shared.validity.MinID(c.shared.hash(keys[0])))
		for i, key := range keys {
			switch {
			case errs[i] != nil:
				c.shared.countRemoteError(errs[i])
				failed.add(key, errs[i])
			case found[i] == remote.EntryTagged:
				tagged = append(tagged, key)
			default:
				out[key] = found[i] == remote.EntryPresent
				c.saw(seen[key], coherence.Sighting{Found: out[key]}, seen[key].Hash(), key)
			}
		}
	}
	// Part by part, since whether tags are intact is in the records, which may be large.
	for keys := range slices.Chunk(tagged, taggedTogether) {
		results := c.shared.client.remote.GetMany(ctx, c.shared.remoteKeys(keys))
		known := c.shared.versionsOf(ctx, results)
		for i, key := range keys {
			there, err := c.taggedEntry(ctx, key, results[i].Record, results[i].Err, known)
			if err != nil {
				c.shared.countRemoteError(err)
				failed.add(key, err)
				continue
			}
			out[key] = there
			c.saw(seen[key], coherence.Sighting{Found: there}, seen[key].Hash(), key)
		}
	}
	return out, failed.err()
}

// taggedTogether is how many entries with tags one round trip reads to tell whether they are there.
const taggedTogether = 512

// byLane groups keys by the lane that carries them, since remote floors are by lane.
func (c *Cache[V]) byLane(keys []string) [][]string {
	if len(keys) == 0 {
		return nil
	}
	if c.shared.validity.Lanes() == 1 {
		return [][]string{keys}
	}
	groups := make([][]string, c.shared.validity.Lanes())
	for _, key := range keys {
		i := c.shared.validity.LaneOf(c.shared.hash(key))
		groups[i] = append(groups[i], key)
	}
	return slices.DeleteFunc(groups, func(g []string) bool { return len(g) == 0 })
}

// distinct gives each usable key once, and what is wrong with the others.
func (c *Cache[V]) distinct(keys []string) ([]string, failures) {
	var failed failures
	seen := make(map[string]struct{}, len(keys))
	out := make([]string, 0, len(keys))
	for _, key := range keys {
		if _, twice := seen[key]; twice {
			continue
		}
		seen[key] = struct{}{}
		if err := c.shared.checkKey(key); err != nil {
			failed.add(key, err)
			continue
		}
		out = append(out, key)
	}
	return out, failed
}
