package tiered

import (
	"strings"

	"github.com/doppio-cache/doppio/internal/keyhash"
	"github.com/doppio-cache/doppio/invalidation"
)

// tracking hears from Redis itself which keys changed, whoever changed them.
type tracking struct{ co *coherence }

func (c *coherence) tracking() invalidation.TrackingHandler { return tracking{c} }

// OnTrackedKeys implements invalidation.TrackingHandler.
func (t tracking) OnTrackedKeys(keys []string) {
	if keys == nil {
		t.co.trackingDrops.Add(1)
		t.co.raiseAll()
		return
	}
	t.co.tracked.Add(uint64(len(keys)))
	hashes := make([]uint64, 0, len(keys))
	for _, key := range keys {
		// namespace:name:key; what lies under another name is not an entry.
		_, rest, _ := strings.Cut(key, ":")
		name, rest, ok := strings.Cut(rest, ":")
		if !ok {
			continue
		}
		if name == "" {
			// namespace::tag:name:tag, a tag's version.
			prefix, tag := tagParts(key, rest)
			if prefix != "" {
				hashes = append(hashes, keyhash.Sum(keyhash.Seed(prefix), tag))
			}
			continue
		}
		hashes = append(hashes, keyhash.Sum(seedOf(key[:strings.IndexByte(key, ':')], name), rest))
	}
	if len(hashes) > 0 {
		t.co.table.Raise(hashes...)
	}
}

// tagParts splits the key of a tag's version into the prefix that seeds the tag's hash, and the tag; rest is what
// follows the namespace and two colons.
func tagParts(key, rest string) (prefix, tag string) {
	kind, rest, _ := strings.Cut(rest, ":")
	_, tag, ok := strings.Cut(rest, ":")
	if kind != "tag" || !ok {
		return "", ""
	}
	return key[:len(key)-len(tag)], tag
}

// OnTracking implements invalidation.TrackingHandler: what changed while nobody told is unknown.
func (t tracking) OnTracking() {
	t.co.trackingDrops.Add(1)
	t.co.raiseAll()
	t.co.log.Info("doppio: Redis tells of changed keys")
}

// OnTrackingLost implements invalidation.TrackingHandler. Nothing rests on tracking: the near tier stays as it is.
func (t tracking) OnTrackingLost(err error) {
	t.co.log.Warn("doppio: Redis does not tell of changed keys any more", "error", err)
}
