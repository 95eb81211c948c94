package tiered

import (
	"context"
	"time"
)

// enterLoad counts a load that runs without the remote tier, and waits while Options.MaxLoads of them run: for patience,
// or until ctx ends. The function that it returns ends the load.
func (c *Client) enterLoad(ctx context.Context, patience time.Duration) (leave func(), err error) {
	leave = func() { <-c.loads }
	select {
	case c.loads <- struct{}{}:
		return leave, nil
	default:
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case c.loads <- struct{}{}:
		return leave, nil
	case <-timer.C:
		return nil, ErrTooManyLoads
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// patienceOfReads is until when a read that begins now waits for first retries.
func (c *Client) patienceOfReads() time.Time { return time.Now().Add(c.opts.RemoteReadTimeout) }
