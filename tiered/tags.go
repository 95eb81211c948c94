package tiered

import (
	"context"
	"slices"
	"time"

	"github.com/doppio-cache/doppio/internal/coherence"
	"github.com/doppio-cache/doppio/internal/keyhash"
	"github.com/doppio-cache/doppio/remote"
)

// A tag has a version in the remote tier, under a key of its own. An entry carries the versions
// that its tags had before it was written, or before its load began; invalidating a tag removes its
// version, so that no entry of before matches, however many there are, and a version that Redis
// loses invalidates too. Reading a tagged entry from the remote tier costs one more round trip; a
// local hit compares hashes; entries without tags pay nothing.

func (s *shared[V]) tagKeys(names []string) []string {
	keys := make([]string, len(names))
	for i, n := range names {
		keys[i] = s.tagPrefix + n
	}
	return keys
}

// tagsToCarry gives the tags of an entry that is about to be written or loaded, with their
// versions, which are made if there are none.
func (s *shared[V]) tagsToCarry(ctx context.Context, st *settings) ([]remote.Tag, error) {
	if len(st.tags) == 0 || s.client.opts.Disabled {
		return nil, nil
	}
	known, err := s.makeVersions(ctx, st.tags, tagLife(st))
	if err != nil {
		return nil, err
	}
	return known.carry(st.tags), nil
}

// tagLife is how long the versions of an entry's tags are kept (0: for ever): longer than the
// entry.
func tagLife(st *settings) time.Duration {
	ttl := remoteLife(st.ttl, 0)
	if ttl == 0 {
		return 0
	}
	return ttl + min(st.failSafe, maxGrace) + tagSlack
}

// tagVersions are the versions of some tags, by name, or why they could not be had.
type tagVersions struct {
	versions map[string]remote.Token
	blocked  map[string]error // why the version of a tag, asked for with those of others, says nothing: see tagsBlocked
	err      error
}

// longerLife is the longer of two lives as tagLife gives them; a negative one is none yet.
func longerLife(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return 0
	}
	return max(a, b)
}

func (t *tagVersions) carry(names []string) []remote.Tag {
	if len(names) == 0 {
		return nil
	}
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	tags := make([]remote.Tag, len(names))
	for i, n := range names {
		tags[i] = remote.Tag{Name: n, Version: t.versions[n]}
	}
	return tags
}

// makeVersions asks for the versions of tags, with one round trip, and makes those that are
// missing.
func (s *shared[V]) makeVersions(ctx context.Context, names []string, life time.Duration) (*tagVersions, error) {
	return s.askVersions(ctx, names, &life)
}

// versionsOf asks for the versions of all tags of some records, with one round trip.
func (s *shared[V]) versionsOf(ctx context.Context, results []remote.Result) *tagVersions {
	var names []string
	for _, r := range results {
		names = append(names, tagNames(r.Record.Tags)...)
	}
	return s.versionsNow(ctx, names)
}

// versionsNow asks for the versions of tags, with one round trip.
func (s *shared[V]) versionsNow(ctx context.Context, names []string) *tagVersions {
	blocked := s.tagsBlocked(ctx, names)
	known, err := s.askVersions(ctx, names, nil)
	if err != nil {
		return &tagVersions{err: err}
	}
	known.blocked = blocked
	return known
}

// tagsBlocked gives the tags whose versions the remote tier may still have though this instance
// invalidated them. It is asked before the versions: what is delivered in between leaves no
// version.
func (s *shared[V]) tagsBlocked(ctx context.Context, names []string) map[string]error {
	if !s.validity.Retrying() {
		return nil
	}
	blocked, until := make(map[string]error), s.client.patienceOfReads()
	for i, h := range s.tagHashes(names) {
		if err := s.validity.TagBlocked(ctx, until, h); err != nil {
			blocked[names[i]] = err
		}
	}
	return blocked
}

func (s *shared[V]) askVersions(ctx context.Context, names []string, life *time.Duration) (*tagVersions, error) {
	out := &tagVersions{versions: make(map[string]remote.Token, len(names))}
	if len(names) == 0 {
		return out, nil
	}
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	versions, err := s.client.remote.TagVersions(ctx, s.tagKeys(names), life)
	if err != nil {
		return nil, err
	}
	for i, n := range names {
		out.versions[n] = versions[i]
	}
	return out, nil
}

// tagSlack keeps a tag's version longer than the entry that is about to carry it, which is written
// a load later.
const tagSlack = time.Hour

// tagsIntact tells whether the versions that a remote record carries are those of now: of known, or
// asked for.
func (s *shared[V]) tagsIntact(ctx context.Context, tags []remote.Tag, known *tagVersions) (bool, error) {
	if len(tags) == 0 {
		return true, nil
	}
	if known == nil {
		known = s.versionsNow(ctx, tagNames(tags))
	}
	if known.err != nil {
		return false, known.err
	}
	for _, t := range tags {
		if err := known.blocked[t.Name]; err != nil {
			return false, err
		}
		if t.Version != known.versions[t.Name] || t.Version == (remote.Token{}) {
			return false, nil
		}
	}
	return true, nil
}

// extendTags lets the versions of an entry's tags live as long as the entry, which was given
// another life. It tells whether there was one: its tags were intact.
func (c *Cache[V]) extendTags(ctx context.Context, key string, ttl time.Duration) (bool, error) {
	rec, found, err := c.taggedRecord(ctx, key)
	if err != nil || !found || len(rec.Tags) == 0 {
		return found, err
	}
	life := tagLife(&settings{ttl: ttl, failSafe: rec.Grace})
	return true, c.shared.client.remote.ExtendTags(ctx, c.shared.tagKeys(tagNames(rec.Tags)), life)
}

// InvalidateTags invalidates every entry of this cache that carries any of the tags, in both tiers
// and on all instances, however many there are, with one round trip; an entry that is being loaded
// is among them. A tag belongs to its cache. If some tags failed, the error is a *BatchError by
// tag.
func (c *Cache[V]) InvalidateTags(ctx context.Context, tags ...string) error {
	return c.shared.fault("InvalidateTags", c.invalidateTags(ctx, tags))
}

func (c *Cache[V]) invalidateTags(ctx context.Context, tags []string) error {
	if c.shared.client.isClosed() {
		return ErrClosed
	}
	for some := range slices.Chunk(tags, MaxTags) { // which bounds the tags of an entry, and not of a call
		if _, err := (settings{}).with([]EntryOption{Tags(some...)}); err != nil {
			return err
		}
	}
	if len(tags) == 0 || c.shared.client.opts.Disabled {
		return nil
	}
	names := slices.Compact(slices.Sorted(slices.Values(tags)))
	lane := func(name string) int { return c.shared.client.co.LaneOf(c.shared.tagHashes([]string{name})[0]) }
	slices.SortStableFunc(names, func(a, b string) int { return lane(a) - lane(b) }) // those of a lane share their message
	keys := c.shared.tagKeys(names)
	changes := make([]*coherence.Change, len(names))
	for i, h := range c.shared.tagHashes(names) {
		ch, _ := c.shared.validity.Begin(ctx, coherence.Remove, keys[i], h)
		changes[i] = &ch
	}
	coherence.Announce(changes...)
	deletions := make([]remote.Deletion, len(keys))
	for i, key := range keys {
		deletions[i] = remote.Deletion{Key: key, Announcement: changes[i].Announcement()}
	}
	errs := slices.Repeat([]error{c.shared.client.co.CheckLanes(ctx)}, len(keys))
	if errs[0] == nil {
		_, errs = c.shared.client.remote.DeleteMany(ctx, deletions)
	}
	var failed failures
	for i, err := range errs {
		if err != nil {
			c.shared.countRemoteError(err)
			failed.add(names[i], err)
		}
		finish(ctx, changes[i], err)
	}
	return failed.err()
}

func tagNames(tags []remote.Tag) []string {
	if len(tags) == 0 {
		return nil
	}
	names := make([]string, len(tags))
	for i, t := range tags {
		names[i] = t.Name
	}
	return names
}

// hash values of tags, with which the local tier checks them.
func (s *shared[V]) tagHashes(tags []string) []uint64 {
	if len(tags) == 0 {
		return nil
	}
	out := make([]uint64, len(tags))
	for i, t := range tags {
		out[i] = keyhash.Sum(s.tagSeed, t)
	}
	return out
}
