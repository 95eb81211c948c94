package coherence

import "time"

// overflowLocked makes room in the retry queue: the items of the cache that has most of them turn
// into one floor of that cache in each lane, as of Clear. Other caches keep their entries, and
// their items.
func (q *retryQueue) overflowLocked() {
	counts := make(map[string]int)
	for _, it := range q.items {
		counts[it.cache]++
	}
	cache, most := "", 0
	for name, n := range counts {
		if n > most || n == most && name < cache {
			cache, most = name, n
		}
	}
	uncertain, prompt := int64(Never), true
	for key, it := range q.items {
		if it.cache == cache {
			uncertain, prompt = max(uncertain, it.uncertainUntil), prompt && it.prompt
			q.removeLocked(key, it)
		}
	}
	// In every lane: the entries of an invalidated tag may be on any.
	for lane := range q.m.lanes {
		q.addFloorLocked(laneCache{cache, lane}, uncertain, prompt)
	}
	q.overflows.Add(1)
	q.m.opts.Logger.Error("doppio: too many undelivered invalidations, the whole cache is invalidated instead",
		"cache", cache, "limit", q.m.opts.MaxRetries)
}

// addFloorLocked notes that a cache's part in a lane is to be invalidated, and once more when no
// change that is uncertain until then can happen any more.
func (q *retryQueue) addFloorLocked(f laneCache, uncertain int64, prompt bool) {
	it := q.floors[f]
	if it == nil {
		it = &retryItem{cache: f.cache, prompt: prompt, since: time.Now(), nextAttempt: Never, uncertainUntil: Never}
		q.floors[f] = it
	}
	it.generation++ // a retry under way may have been before what failed now
	it.prompt = it.prompt && prompt
	it.uncertainUntil, it.nextAttempt = max(it.uncertainUntil, uncertain), Never
}

// coveredLocked reports whether all of a cache is to be invalidated anyhow, in every lane. One more
// key of it, or tag, then has that done after what failed now, and once more after uncertain.
func (q *retryQueue) coveredLocked(cache string, uncertain int64, prompt bool) bool {
	for lane := range q.m.lanes {
		if q.floors[laneCache{cache, lane}] == nil {
			return false
		}
	}
	for lane := range q.m.lanes {
		q.addFloorLocked(laneCache{cache, lane}, uncertain, prompt)
	}
	return true
}
