package tiered

import (
	"fmt"
	"math"
	"time"
)

// NoExpiration as a TTL keeps an entry for ever; Cache.TTL returns it for such an entry.
const NoExpiration time.Duration = math.MaxInt64

// EntryOption changes one setting for one call; the defaults are in CacheOptions. Of several options of the same kind in
// one call the last counts, but Tags add up. It is a value, not a closure, so that a local hit allocates nothing even when
// options are passed.
type EntryOption struct {
	kind optionKind
	d    time.Duration
	tags []string
}

type optionKind uint8

const (
	optTTL optionKind = iota + 1
	optLocalTTL
	optTags
	optFailSafe
	optRefreshAhead
	optSoftTimeout
	optHardTimeout
	optNegativeTTL
	optJitter
)

// TTL is how long the entry lives. 0 is the cache's default; NoExpiration is for ever, and so is anything longer than
// remote.MaxTTL, 68 years; a life below a millisecond is a millisecond, and one above 24 days is rounded up to a second.
func TTL(d time.Duration) EntryOption { return EntryOption{kind: optTTL, d: d} }

// LocalTTL is how long a copy of the entry is served by a local tier at most; it never outlives the entry. 0 is the
// cache's default; less than a millisecond keeps nothing local.
func LocalTTL(d time.Duration) EntryOption { return EntryOption{kind: optLocalTTL, d: d} }

// Tags lets the entry be invalidated by any of these tags; see Cache.InvalidateTags. A tag belongs to its cache. Given
// more than once in a call, Tags adds up. An entry has at most MaxTags of them; more are an *OptionError.
func Tags(tags ...string) EntryOption { return EntryOption{kind: optTags, tags: tags} }

// FailSafe keeps the entry for d past its TTL, to be returned when a load fails (or is slower than SoftTimeout). With
// Redis down as well, a local copy serves only where Options.WhenIncoherent is ServeStale. 0 is the cache's default.
func FailSafe(d time.Duration) EntryOption { return EntryOption{kind: optFailSafe, d: d} }

// RefreshAhead lets a GetOrSet that hits in the last d of the entry's local life load it anew in the background, once,
// while the old value is served. Each copy picks its moment in that span at random, so that a fleet does not refresh at
// once. 0 is the cache's default.
func RefreshAhead(d time.Duration) EntryOption { return EntryOption{kind: optRefreshAhead, d: d} }

// SoftTimeout is how long a caller waits for a load when a stale value is at hand (see FailSafe); the load goes on. 0
// is the cache's default.
func SoftTimeout(d time.Duration) EntryOption { return EntryOption{kind: optSoftTimeout, d: d} }

// HardTimeout is when a load is given up: its context ends, and its callers get a *LoadError. 0 is the cache's default.
func HardTimeout(d time.Duration) EntryOption { return EntryOption{kind: optHardTimeout, d: d} }

// NegativeTTL keeps the loader's word that there is no such thing. 0 is the cache's default.
func NegativeTTL(d time.Duration) EntryOption { return EntryOption{kind: optNegativeTTL, d: d} }

// Jitter shortens each TTL by a random part of d, but never by more than half, so that entries stored together do not
// end together. 0 is the cache's default.
func Jitter(d time.Duration) EntryOption { return EntryOption{kind: optJitter, d: d} }

// maxGrace bounds FailSafe.
const maxGrace = 10 * 365 * 24 * time.Hour

// settings are what holds for one call.
type settings struct {
	ttl, localTTL                      time.Duration // localTTL 0: as long as the entry
	failSafe, refreshAhead             time.Duration
	softTimeout, hardTimeout, negative time.Duration
	jitter                             time.Duration
	tags                               []string
}

// with gives the settings that opts leave, and what is wrong with them. It copies tags, so that opts need not outlive
// the caller's frame.
func (s settings) with(opts []EntryOption) (settings, error) {
	defaults := s
	for i := range opts {
		o := &opts[i]
		if o.kind == optTags {
			s.tags = addTags(s.tags, o.tags)
			continue
		}
		if o.d == 0 {
			*s.field(o.kind) = *defaults.field(o.kind)
			continue
		}
		if o.d < 0 {
			return s, &OptionError{Field: o.kind.String(), Reason: "is " + o.d.String() + ", must not be negative; NoExpiration is for ever"}
		}
		*s.field(o.kind) = o.d
	}
	if len(s.tags) > MaxTags {
		return s, &OptionError{Field: "Tags", Reason: fmt.Sprintf("has %d tags, an entry has at most %d", len(s.tags), MaxTags)}
	}
	for _, tag := range s.tags {
		if tag == "" || len(tag) > MaxKeyBytes {
			return s, &OptionError{Field: "Tags", Reason: "a tag must have 1 to 1024 bytes"}
		}
	}
	return s, nil
}

// addTags gives the tags of both, each once, in a slice of its own.
func addTags(have, more []string) []string {
	out := make([]string, 0, len(have)+len(more))
	out = append(out, have...)
	seen := make(map[string]struct{}, cap(out))
	for _, t := range have {
		seen[t] = struct{}{}
	}
	for _, t := range more {
		if _, twice := seen[t]; !twice {
			seen[t] = struct{}{}
			out = append(out, t)
		}
	}
	return out
}

func (s *settings) field(k optionKind) *time.Duration {
	switch k {
	case optTTL:
		return &s.ttl
	case optLocalTTL:
		return &s.localTTL
	case optFailSafe:
		return &s.failSafe
	case optRefreshAhead:
		return &s.refreshAhead
	case optSoftTimeout:
		return &s.softTimeout
	case optHardTimeout:
		return &s.hardTimeout
	case optNegativeTTL:
		return &s.negative
	default:
		return &s.jitter
	}
}

// String is the option's name.
func (k optionKind) String() string {
	return [...]string{"", "TTL", "LocalTTL", "Tags", "FailSafe", "RefreshAhead", "SoftTimeout", "HardTimeout", "NegativeTTL", "Jitter"}[k]
}
