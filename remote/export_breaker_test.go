package remote

// now gives the breaker's state.
func (b *breaker) now() breakerState {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state
}
