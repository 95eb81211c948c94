package tiered

// Waiting is how many flights wait for another instance's load.
func (c *Client) Waiting() int {
	w := &c.co.waiters
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, chs := range w.byHash {
		n += max(len(chs), 1) // an entry without a channel has leaked, too
	}
	return n
}

// NamespaceOf is where a cache's keys are.
func NamespaceOf[V any](c *Cache[V]) string { return c.client.opts.Namespace }
