package tiered

// maxFloors is how many floors of caches that it does not have an instance keeps for a lane. Redis keeps as many. The
// names that come and go there meanwhile would grow without end here.
const maxFloors = 16_384

// boundFloors keeps a lane's floors to those of this instance's caches where there are too many: a cache that it makes
// later begins with the highest floor of the others. It is called with c.mu held.
func (c *coherence) boundFloors(l *laneState) {
	if len(l.floors) <= maxFloors {
		return
	}
	named := map[string]bool{allCaches: true}
	for _, f := range c.caches {
		named[f.name] = true
	}
	for name, id := range l.floors {
		if !named[name] {
			l.later = max(l.later, id)
			delete(l.floors, name)
		}
	}
}
