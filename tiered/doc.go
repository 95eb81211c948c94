// Package tiered is a two-tier cache: a local tier in the process (ristretto, or otter) over a
// remote tier in Redis or Valkey.
//
// A [Client] owns the local tier's memory, the calls to the remote tier and a subscription for each
// of its lanes, through which the instances of a fleet tell each other what changed. Any number of
// typed caches share it:
//
//	client, err := tiered.New(rdb, tiered.Options{Namespace: "shop"})
//	users, err := tiered.NewCache[User](client, "users", tiered.CacheOptions{TTL: time.Hour})
//	u, err := users.GetOrSet(ctx, "42", func(ctx context.Context) (User, error) { return db.User(ctx, 42) })
//
// # Values are shared
//
// What a read returns may be held by the local tier and by other callers. Do not change what a
// returned pointer, slice or map refers to. For a Cache[any] the local tier holds what the remote
// tier would give back, so that a value looks the same wherever it is found.
//
// # Errors
//
// An outage is never a miss: [ErrNotFound] says that the remote tier answered and has no such
// entry, [ErrRemoteUnavailable] that it could not be asked. A change that returns
// ErrRemoteUnavailable did not happen, unless the error matches [ErrUnknownOutcome] too: then it
// was sent, and no reply came, or it was made and could not be announced. [Cache.GetOrSet] survives
// an outage: it loads, and what could not be stored is counted in [Stats] and logged.
//
// An [OpError] names the method and the cache that were called. Compare its cause with errors.Is,
// never with ==.
//
// # Which copy is served
//
// A local entry is served only if nothing newer is known about its key when it is read, and only
// while no invalidation can be missing: an echo, which this instance sends itself through Redis,
// must have come back over the subscription to invalidations within [Options.MaxStaleness] of being
// sent, and shown that none is. So a local hit reflects every change that was acknowledged
// MaxStaleness before. What happens without echoes is up to [Options.WhenIncoherent].
//
// In the instance that made it, a change is seen by every read that begins after it returned; in
// others, by reads of a handle made with [Cache.After] from the token that [WithToken] collected.
//
// A change that failed, or whose outcome is unknown, is repaired in the background by a deletion:
// until that is acknowledged, this instance reads past both tiers for its key
// ([Options.MaxPending]).
package tiered
