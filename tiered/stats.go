package tiered

import (
	"sync/atomic"
	"time"

	"github.com/doppio-cache/doppio/local"
)

// counters of one cache, all off the hot path; local hits are counted by its scope.
type counters struct {
	remoteHits, remoteMisses, remoteErrors, decodeErrors, foreign atomic.Uint64
	loads, loadErrors, joined, refreshes, staleServed             atomic.Uint64
	leasesBusy                                                    atomic.Uint64
	fills, fillsRefused, fillsSkipped, storeErrors                atomic.Uint64
	sets, deletes                                                 atomic.Uint64
}

// Stats is a snapshot of a client: plain numbers since it was made.
type Stats struct {
	CacheStats // of all caches together

	Caches map[string]CacheStats // by name
	Local  local.Stats           // the local tier, shared by all caches

	Coherent        bool   // the local tier can be trusted now
	BreakerOpen     bool   // calls to the remote tier fail at once
	Subscriptions   uint64 // how often a subscription to invalidations became Live
	Losses          uint64 // how often a Live one was lost
	SubscribeErrors uint64 // how often an attempt to make one failed
	Invalidations   uint64 // messages received, replayed ones included
	Tracked         uint64 // keys that Redis itself said to have changed (Options.Tracking)

	// Drops is how often the local tier was dropped, by reason: first-sync, gap, tail-lost, trimmed, history-lost,
	// unreadable, tracking. Reasons that did not occur are absent.
	Drops map[string]uint64
	Lanes []LaneStats

	Pending          int           // invalidations that could not be delivered yet
	PendingAge       time.Duration // since when the oldest of them waits
	PendingDelivered uint64        // how many were delivered by a retry
	PendingOverflows uint64        // how often there were too many, and a cache was invalidated instead
	NoticesDropped   uint64        // transitions that OnStateChange was too slow for

	// Panics is how many panics were caught in goroutines of the client, of code that was passed to it: functions in
	// Options, the Logger, the TracerProvider, the MeterProvider, and hooks and dialers of the Redis client. Panics of
	// loaders and codecs are errors of loads and of calls, and counted as such.
	Panics uint64
}

// LaneStats is a snapshot of one lane.
type LaneStats struct {
	State   State
	Applied string // id of the stream up to which every invalidation is known
	Newest  string // newest id known
}

// CacheStats are the counters of one cache.
type CacheStats struct {
	LocalHits   uint64
	LocalMisses uint64 // nothing local
	LocalStale  uint64 // a local copy that could not be served: invalid, past its life, or not to be trusted

	RemoteHits   uint64
	RemoteMisses uint64
	// RemoteErrors is how many calls to the remote tier failed, or were not made since it did not answer, whoever was told:
	// one for each key that the call was about, or one where it was about none. A failure is counted once: one that
	// DecodeErrors or StoreErrors counts is not counted here. A caller's own mistake, the end of its context, and calls
	// after Close are no failures of the remote tier.
	RemoteErrors uint64
	DecodeErrors uint64 // records that did not decode
	Foreign      uint64 // records of a later version, taken for misses

	Loads       uint64 // loader calls
	LoadErrors  uint64
	Joined      uint64 // callers that waited for another caller's load
	LeasesBusy  uint64 // loads that waited for another instance's
	Refreshes   uint64 // loads ahead of an entry's end
	StaleServed uint64 // values past their life given because a load failed or was slow

	Fills        uint64 // loaded values stored in the remote tier
	FillsRefused uint64 // because the key was changed while its load ran
	FillsSkipped uint64 // because another instance was loading still when HardTimeout had passed, or the remote tier could not be asked
	StoreErrors  uint64 // loaded values that could not be stored: they do not encode, or the remote tier did not take them

	Sets    uint64 // entries stored by Set, SetMany, SetIfAbsent, GetOrSetValue and Increment
	Deletes uint64 // deletions acknowledged, whether there was an entry or not
}

func (s *CacheStats) add(o CacheStats) {
	s.LocalHits += o.LocalHits
	s.LocalMisses += o.LocalMisses
	s.LocalStale += o.LocalStale
	s.RemoteHits += o.RemoteHits
	s.RemoteMisses += o.RemoteMisses
	s.RemoteErrors += o.RemoteErrors
	s.DecodeErrors += o.DecodeErrors
	s.Foreign += o.Foreign
	s.Loads += o.Loads
	s.LoadErrors += o.LoadErrors
	s.Joined += o.Joined
	s.LeasesBusy += o.LeasesBusy
	s.Refreshes += o.Refreshes
	s.StaleServed += o.StaleServed
	s.Fills += o.Fills
	s.FillsRefused += o.FillsRefused
	s.FillsSkipped += o.FillsSkipped
	s.StoreErrors += o.StoreErrors
	s.Sets += o.Sets
	s.Deletes += o.Deletes
}

func (s *shared[V]) stats() CacheStats {
	c := &s.counts
	out := CacheStats{
		RemoteHits: c.remoteHits.Load(), RemoteMisses: c.remoteMisses.Load(), RemoteErrors: c.remoteErrors.Load(), DecodeErrors: c.decodeErrors.Load(), Foreign: c.foreign.Load(),
		Loads: c.loads.Load(), LoadErrors: c.loadErrors.Load(), Joined: c.joined.Load(), LeasesBusy: c.leasesBusy.Load(), Refreshes: c.refreshes.Load(), StaleServed: c.staleServed.Load(),
		Fills: c.fills.Load(), FillsRefused: c.fillsRefused.Load(), FillsSkipped: c.fillsSkipped.Load(), StoreErrors: c.storeErrors.Load(),
		Sets: c.sets.Load(), Deletes: c.deletes.Load(),
	}
	if s.scope != nil {
		out.LocalHits, out.LocalMisses, out.LocalStale = s.scope.Stats()
	}
	return out
}

// Stats gives a snapshot. It may be called after Close.
func (c *Client) Stats() Stats {
	c.mu.Lock()
	type named struct {
		name  string
		stats func() CacheStats
	}
	caches := make([]named, 0, len(c.caches))
	for name, r := range c.caches {
		caches = append(caches, named{name, r.stats})
	}
	c.mu.Unlock()
	out := Stats{Caches: make(map[string]CacheStats, len(caches)), Panics: c.panics.Count()}
	for _, cache := range caches {
		s := cache.stats()
		out.Caches[cache.name] = s
		out.add(s)
	}
	if c.opts.Disabled {
		return out
	}
	out.Local = c.local.Stats()
	out.Coherent = c.co.Trusted()
	out.BreakerOpen = c.remote.BreakerOpen()
	known := c.co.Stats()
	out.Subscriptions, out.Losses, out.SubscribeErrors = known.Synced, known.Lost, known.Refused
	out.Invalidations, out.Tracked, out.Drops = known.Received, known.Tracked, known.Drops
	for _, l := range known.Lanes {
		out.Lanes = append(out.Lanes, LaneStats(l))
	}
	out.Pending, out.PendingAge = known.Retries, known.RetryAge
	out.PendingDelivered, out.PendingOverflows = known.Retried, known.RetriesOverflown
	if c.notices != nil {
		out.NoticesDropped = c.notices.dropped.Load()
	}
	return out
}
