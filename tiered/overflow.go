package tiered

import "time"

// overflowLocked makes room in the pending set: the items of the cache that has most of them turn
// into one floor of that cache in each lane, as of Clear. Other caches keep their entries, and
// their items.
func (p *pending) overflowLocked() {
	counts := make(map[string]int)
	for _, it := range p.items {
		counts[it.cache]++
	}
	cache, most := "", 0
	for name, n := range counts {
		if n > most || n == most && name < cache {
			cache, most = name, n
		}
	}
	doubt, prompt := int64(neverLive), true
	for key, it := range p.items {
		if it.cache == cache {
			doubt, prompt = max(doubt, it.doubt), prompt && it.prompt
			p.dropLocked(key, it)
		}
	}
	// In every lane: the entries of an invalidated tag may be on any.
	for lane := range p.co.lanes {
		p.floorLocked(floorOfLane{cache, lane}, doubt, prompt)
	}
	p.overflows.Add(1)
	p.log.Error("doppio: too many undelivered invalidations, the whole cache is invalidated instead", "cache", cache, "limit", p.most)
}

// floorLocked notes that a cache's part in a lane is to be invalidated, and once more after doubt.
func (p *pending) floorLocked(f floorOfLane, doubt int64, prompt bool) {
	it := p.floors[f]
	if it == nil {
		it = &undelivered{cache: f.cache, prompt: prompt, since: time.Now(), next: neverLive, doubt: neverLive}
		p.floors[f] = it
	}
	it.round++ // a retry under way may have been before what failed now
	it.prompt = it.prompt && prompt
	it.doubt, it.next = max(it.doubt, doubt), neverLive
}

// coveredLocked reports whether all of a cache is to be invalidated anyhow, in every lane. Then one more key of it, or
// tag, has that done after what failed now, and once more after doubt.
func (p *pending) coveredLocked(cache string, doubt int64, prompt bool) bool {
	for lane := range p.co.lanes {
		if p.floors[floorOfLane{cache, lane}] == nil {
			return false
		}
	}
	for lane := range p.co.lanes {
		p.floorLocked(floorOfLane{cache, lane}, doubt, prompt)
	}
	return true
}
