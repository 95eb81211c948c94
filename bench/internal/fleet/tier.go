package fleet

import (
	"slices"

	"github.com/doppio-cache/doppio/internal/history"
	"github.com/doppio-cache/doppio/tiered"
)

// Tier says what answered a read.
type Tier int

// The tiers.
const (
	Near  Tier = iota
	Far        // the far tier
	Load       // the read's own loader, or that of another read which it waited for
	Tiers      // how many there are
)

// String names the tier.
func (t Tier) String() string { return [...]string{"near", "far", "load"}[t] }

// letters are the tiers as logs have them.
var letters = [...]history.Tier{history.Near, history.Far, history.Load}

// tierOf returns the tier that a log has, as classify does.
func tierOf(logged history.Tier) Tier {
	if i := slices.Index(letters[:], logged); i >= 0 {
		return Tier(i)
	}
	return Load
}

// classify turns what the cache says of a read into a tier. It says so for each read: a guess by
// the time that a read took would count a near hit whose process was descheduled as far.
func classify(a tiered.Source) Tier {
	switch a {
	case tiered.SourceLocal:
		return Near
	case tiered.SourceRemote:
		return Far
	default: // by a loader, or by the value that stood in for one that failed or was slow
		return Load
	}
}
