package local

// Peek returns the entry of key, whose hash is given, or nil, for whoever only wants to know: it counts neither as a hit nor as a
// miss, and nothing has to be concluded. To the engine it is a read like any other.
func (s *Scope) Peek(hash uint64, key string) *Entry {
	c := s.count()
	c.begun.Add(1) // before the look at closed: see Tier.awaitIdle
	defer c.writes.Add(1)
	if s.tier.closed.Load() {
		return nil
	}
	if e := s.tier.engine.get(hash ^ s.salt); e != nil && e.is(s, key) {
		return e
	}
	return nil
}
