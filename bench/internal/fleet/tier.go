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
	Local  Tier = iota
	Remote      // the remote tier
	Load        // the read's own loader, or that of another read which it waited for
	Tiers       // how many there are
)

// String names the tier.
func (t Tier) String() string { return [...]string{"local", "remote", "load"}[t] }

// letters are the tiers as logs have them.
var letters = [...]history.Tier{history.Local, history.Remote, history.Load}

// tierOf returns the tier that a log has, as classify does.
func tierOf(logged history.Tier) Tier {
	if i := slices.Index(letters[:], logged); i >= 0 {
		return Tier(i)
	}
	return Load
}

// classify turns what the cache says of a read into a tier. It says so for each read: a guess by
// the time that a read took would count a local hit whose process was descheduled as a remote one.
func classify(a tiered.Source) Tier {
	switch a {
	case tiered.SourceLocal:
		return Local
	case tiered.SourceRemote:
		return Remote
	default: // by a loader, or by the value that stood in for one that failed or was slow
		return Load
	}
}
