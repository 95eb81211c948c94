package tiered

import (
	"time"

	"github.com/doppio-cache/doppio/internal/coherence"
)

// servable returns what a policy allows at now, when local copies are trusted until the reading given:
// to serve all of them, or only those that were kept while none were trusted.
func (i Incoherence) servable(trustedUntil, now int64) (all, gutterOnly bool) {
	if now < trustedUntil {
		return true, false
	}
	switch i.mode {
	case serveStale:
		// Before the first sync, and after its span, what is loaded now is kept for its moment, as Gutter does.
		within := trustedUntil != coherence.Never && now-trustedUntil < int64(i.maxAge)
		return within, !within
	case bypass:
		return false, false
	default:
		return false, true
	}
}

// gutterTTL is how long a value that is loaded without coherence is kept, counted from the beginning of
// its load: no longer than coherence would vouch for it, since a Clear may have been known a quarter of
// the bound late.
func gutterTTL(maxStaleness time.Duration) int64 {
	return int64(min(DefaultGutterTTL, maxStaleness*3/4))
}
