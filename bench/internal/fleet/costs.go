package fleet

import (
	"slices"

	"github.com/doppio-cache/doppio/bench/internal/result"
)

// load is the requests of a fleet to a server in a second, and the number of its subscribers.
type load struct{ subscribers, changes, remote, loads float64 }

func loadOf(r *result.FleetRun) load {
	return load{
		float64(r.Config.Instances + 1), changes(r), answered(r, Remote), answered(r, Load),
	}
}

// answered returns how many reads a second a tier answered.
func answered(r *result.FleetRun, by Tier) float64 {
	return float64(r.Latency[by.String()].Count) / r.Seconds
}

// costs are the unit costs of a server's work for a fleet: shares of a core, or bytes.
type costs struct {
	itself       float64 // of a second, whatever is asked
	change       float64
	delivery     float64 // of a change to one subscriber
	subscriber   float64 // of a second of one, whose echoes are answered
	remote, load float64
}

// of returns the cost of a load.
func (c costs) of(l load) float64 {
	return c.itself + c.change*l.changes + c.delivery*l.changes*l.subscribers +
		c.subscriber*l.subscribers + c.remote*l.remote + c.load*l.loads
}

// fields are the costs in the order of their letters in the formula.
func (c *costs) fields() []*float64 {
	return []*float64{&c.itself, &c.change, &c.delivery, &c.subscriber, &c.remote, &c.load}
}

// calibrations are the runs of one round that measure the unit costs.
type calibrations struct{ alone, crowd, changesAlone, changesCrowd, remote, loads *result.FleetRun }

// rounds returns the calibrations among runs, a round after another. A round that is not whole is
// left out.
func rounds(runs []result.FleetRun) (all []calibrations) {
	var next calibrations
	for i := range runs {
		r := &runs[i]
		if r.Series != seriesCalibration {
			continue
		}
		switch what, one := calibrates(r.Config), r.Config.Instances == 1; {
		case what == idle && one:
			next = calibrations{alone: r} // a round begins with it
		case what == idle:
			next.crowd = r
		case what == changing && one:
			next.changesAlone = r
		case what == changing:
			next.changesCrowd = r
		case what == remoteHits:
			next.remote = r
		case what == loading:
			next.loads = r
		}
		if next.whole() {
			all = append(all, next)
			next = calibrations{}
		}
	}
	return all
}

func (c calibrations) whole() bool {
	return c.alone != nil && c.crowd != nil && c.changesAlone != nil && c.changesCrowd != nil &&
		c.remote != nil && c.loads != nil
}

// costs returns the unit costs, each measured by itself: as the difference between two runs that
// differ in that thing only. One that comes out below 0 is 0: it is too small to be measured.
func (c calibrations) costs(spent func(*result.FleetRun) float64) costs {
	alone, crowd := loadOf(c.alone), loadOf(c.crowd)
	more := crowd.subscribers - alone.subscribers
	idleAlone, idleCrowd := spent(c.alone), spent(c.crowd)
	// A change with its deliveries to all subscribers, of whom there are few and many.
	each := func(with, without *result.FleetRun) float64 {
		return ratioOf(spent(with)-spent(without), changes(with)-changes(without))
	}
	few, many := each(c.changesAlone, c.alone), each(c.changesCrowd, c.crowd)
	var out costs
	out.delivery = max(0, ratioOf(many-few, more))
	out.change = max(0, few-out.delivery*alone.subscribers)
	// The probes are changes that idle fleets have, too.
	out.subscriber = max(0, ratioOf(idleCrowd-idleAlone, more)-out.delivery*alone.changes)
	rest := out
	out.itself = max(0, idleAlone-rest.of(alone))
	out.remote = max(0, ratioOf(spent(c.remote)-idleAlone, answered(c.remote, Remote)))
	out.load = max(0, ratioOf(spent(c.loads)-idleAlone, answered(c.loads, Load)))
	return out
}

func ratioOf(part, whole float64) float64 {
	if whole == 0 {
		return 0
	}
	return part / whole
}

// measured returns the median of each cost over the rounds, and how far the rounds are from it at
// most.
func measured(all []calibrations, spent func(*result.FleetRun) float64) (median, off costs) {
	values := make([][]float64, len(median.fields()))
	for _, c := range all {
		round := c.costs(spent)
		for i, v := range round.fields() {
			values[i] = append(values[i], *v)
		}
	}
	medians, offs := median.fields(), off.fields()
	for i, v := range values {
		slices.Sort(v)
		*medians[i] = v[len(v)/2]
		*offs[i] = max(v[len(v)-1]-*medians[i], *medians[i]-v[0])
	}
	return median, off
}
