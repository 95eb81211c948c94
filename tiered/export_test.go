package tiered

// Waiting is how many loads wait for another instance's.
func (c *Client) Waiting() int { return c.co.Waiting() }

// NamespaceOf is where a cache's keys are.
func NamespaceOf[V any](c *Cache[V]) string { return c.shared.client.opts.Namespace }
