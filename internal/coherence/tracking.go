package coherence

import (
	"strings"

	"github.com/doppio-cache/doppio/internal/keyhash"
	"github.com/doppio-cache/doppio/invalidation"
)

// tracking hears from Redis itself which keys changed, whatever changed them.
type tracking struct{ m *Manager }

// Tracking returns the handler of a tracker.
func (m *Manager) Tracking() invalidation.TrackingHandler { return tracking{m} }

// OnTrackedKeys implements invalidation.TrackingHandler.
func (t tracking) OnTrackedKeys(keys []string) {
	if keys == nil {
		t.m.trackingDrops.Add(1)
		t.m.invalidateAll()
		return
	}
	t.m.tracked.Add(uint64(len(keys)))
	hashes := make([]uint64, 0, len(keys))
	for _, key := range keys {
		// namespace:name:key; what lies under another name is not an entry.
		namespace, rest, _ := strings.Cut(key, ":")
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
		hashes = append(hashes, keyhash.Sum(Seed(namespace, name), rest))
	}
	if len(hashes) > 0 {
		t.m.table.Raise(hashes...)
	}
}

// tagParts splits the key of a tag's version into the prefix that seeds the tag's hash, and the
// tag; rest is the key without the namespace and two colons.
func tagParts(key, rest string) (prefix, tag string) {
	kind, rest, _ := strings.Cut(rest, ":")
	_, tag, ok := strings.Cut(rest, ":")
	if kind != "tag" || !ok {
		return "", ""
	}
	return key[:len(key)-len(tag)], tag
}

// OnTracking implements invalidation.TrackingHandler: nothing reported the keys that changed
// before.
func (t tracking) OnTracking() {
	t.m.trackingDrops.Add(1)
	t.m.invalidateAll()
	t.m.opts.Logger.Info("doppio: Redis reports changed keys")
}

// OnTrackingLost implements invalidation.TrackingHandler. Nothing rests on tracking: the local tier
// stays as it is.
func (t tracking) OnTrackingLost(err error) {
	t.m.opts.Logger.Warn("doppio: Redis does not report changed keys any more", "error", err)
}
