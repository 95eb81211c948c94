package demo

import "github.com/doppio-cache/doppio/tiered"

// tier says what answered a read.
type tier int

const (
	near tier = iota
	far
	load // the read's own loader, or that of another read which it waited for
	tiers
)

func (t tier) String() string { return [...]string{"near", "far", "load"}[t] }

// classify turns what the cache says of a read into a tier. It says so for each read: a guess by the time that a read took
// would count a near hit whose process was descheduled as far.
func classify(a tiered.Answer) tier {
	switch a {
	case tiered.AnsweredNear:
		return near
	case tiered.AnsweredFar:
		return far
	default: // by a loader, or by the value that stood in for one that failed or was slow
		return load
	}
}
