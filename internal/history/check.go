package history

import (
	"cmp"
	"math"
	"slices"
	"sort"
	"time"
)

// Rule is a promise that Check holds a history to. See the package's documentation.
type Rule int

// The rules.
const (
	G1 Rule = iota
	G2
	G3
	Invention
	Alien
	Rules // how many there are
)

// String names the rule.
func (r Rule) String() string {
	return [...]string{"G1 stale in Redis", "G2 staleness beyond the bound", "G3 own write not read", "version never committed", "another key's value"}[r]
}

// Window is a span of time, its ends included.
type Window struct {
	From, To int64
	Name     string // what happened in it
	Until    int64  // of Options.Void: when acknowledgements from within the span begin to count after all; 0: never
}

func (w Window) overlaps(from, to int64) bool { return to >= w.From && from <= w.To }

func overlaps(windows []Window, from, to int64) bool {
	return slices.ContainsFunc(windows, func(w Window) bool { return w.overlaps(from, to) })
}

// Options of Check.
type Options struct {
	// Bound is G2's bound for instances whose log names none.
	Bound time.Duration
	// Late is how long after its failure a Set of unknown outcome may still happen.
	Late time.Duration
	// Void are spans in which an acknowledgement is worth nothing, since the server lost what it acknowledged, for ever or until
	// the caches are to have noticed. A change counts as within a span if any part of it was.
	Void []Window
	// Faults are spans whose staleness is measured apart.
	Faults []Window
	// Each, if set, is told of each read that was judged.
	Each func(Judged)
	// Keep is how many violations of each rule are kept, each with another change that was missed or by another instance. All
	// are counted. Defaults to 10.
	Keep int
}

const defaultKeep = 10

// Change is one call of Delete or Set.
type Change struct {
	Instance string
	Method   Method
	Key      uint32
	Version  uint64
	Start    int64
	End      int64 // of one that was never answered: when its process had ended
	Outcome  Kind  // Acked, Failed or Unknown
}

// Violation is a read or a poll that breaks a rule, and the change that it should have seen.
type Violation struct {
	Rule     Rule
	Instance string
	Op       Op
	Missed   *Change // nil for inventions and other keys' values
	Stale    time.Duration
	During   []string // the names of the faults between the change and the read
}

// Judged is a read that was held to G2 and G3.
type Judged struct {
	Instance string
	Op       Op
	Missed   *Change       // the first that was acknowledged and that it should have seen by its bound at the latest; nil: none
	Stale    time.Duration // from that to the read's beginning
	Own      bool          // it breaks G3
}

// superseded tells of each version since when a newer one has been acknowledged.
type superseded struct {
	acked []*Change // by version
	first []int     // first[i] is the index of the earliest of acked[i:]
}

func (s *superseded) sort() {
	slices.SortFunc(s.acked, func(a, b *Change) int { return cmp.Compare(a.Version, b.Version) })
	s.first = make([]int, len(s.acked))
	for i := len(s.acked) - 1; i >= 0; i-- {
		s.first[i] = i
		if i+1 < len(s.acked) && s.acked[s.first[i+1]].End < s.acked[i].End {
			s.first[i] = s.first[i+1]
		}
	}
}

// by gives the first change that was acknowledged for a version above v, or nil.
func (s *superseded) by(v uint64) *Change {
	if s == nil {
		return nil
	}
	i := sort.Search(len(s.acked), func(i int) bool { return s.acked[i].Version > v })
	if i == len(s.acked) {
		return nil
	}
	return s.acked[s.first[i]]
}

type owned struct {
	instance string
	key      uint32
}

type valueOf struct {
	key     uint32
	version uint64
}

// checker holds what all logs say of the writes.
type checker struct {
	opts    Options
	all     map[uint32]*superseded
	own     map[owned]*superseded
	commits map[uint32][]Op      // in the order of their times, their versions made to rise: the newest committed by then
	late    map[valueOf]*Change  // Sets of unknown outcome
	calls   map[uint32][]*Change // acknowledged, by when they began
	ended   map[uint32][]int64   // ended[k][i] is when the first of calls[k][i:] was acknowledged
	gone    map[string]int64     // when an instance's process had ended
	report  *Report
	kept    map[similar]int
	samples [2][]time.Duration // staleness of stale reads: calm, under faults
}

// Check judges every read and poll of the logs.
func Check(logs []*Log, opts Options) *Report {
	if opts.Keep == 0 {
		opts.Keep = defaultKeep
	}
	c := &checker{
		opts: opts, all: map[uint32]*superseded{}, own: map[owned]*superseded{}, commits: map[uint32][]Op{},
		late: map[valueOf]*Change{}, calls: map[uint32][]*Change{}, ended: map[uint32][]int64{}, gone: map[string]int64{},
		kept: map[similar]int{}, report: &Report{Logs: len(logs)},
	}
	c.collect(logs)
	for _, l := range logs {
		bound := cmp.Or(l.Bound, opts.Bound)
		for _, o := range l.Ops {
			switch o.Kind {
			case Read:
				c.read(l.Instance, bound, o)
			case Poll:
				c.poll(l.Instance, o)
			}
		}
	}
	for i, s := range []*Staleness{&c.report.Calm, &c.report.Faulty} {
		s.measure(c.samples[i])
	}
	return c.report
}

// collect reads commits and changes.
func (c *checker) collect(logs []*Log) {
	for _, l := range logs {
		for _, o := range l.Ops {
			switch o.Kind {
			case Commit:
				c.report.Commits++
				c.commits[o.Key] = append(c.commits[o.Key], o)
			case Gone:
				c.gone[o.Instance] = o.Start
			}
		}
	}
	for _, commits := range c.commits {
		slices.SortFunc(commits, func(a, b Op) int { return cmp.Compare(a.Start, b.Start) })
		for i := 1; i < len(commits); i++ {
			commits[i].Version = max(commits[i].Version, commits[i-1].Version)
		}
	}
	for _, l := range logs {
		for _, change := range changesOf(l) {
			c.change(change)
		}
	}
	for _, s := range c.all {
		s.sort()
	}
	for _, s := range c.own {
		s.sort()
	}
	for key, calls := range c.calls {
		slices.SortFunc(calls, func(a, b *Change) int { return cmp.Compare(a.Start, b.Start) })
		ended, first := make([]int64, len(calls)), int64(math.MaxInt64)
		for i := len(calls) - 1; i >= 0; i-- {
			first = min(first, calls[i].End)
			ended[i] = first
		}
		c.ended[key] = ended
	}
}

// changesOf joins the beginnings of a log's changes with their ends.
func changesOf(l *Log) []*Change {
	var changes []*Change
	open := make(map[uint64]*Change)
	for _, o := range l.Ops {
		switch o.Kind {
		case Begin:
			ch := &Change{Instance: l.Instance, Method: o.Method, Key: o.Key, Version: o.Version, Start: o.Start, End: math.MaxInt64, Outcome: Unknown}
			open[o.Change] = ch
			changes = append(changes, ch)
		case Acked, Failed, Unknown:
			if ch := open[o.Change]; ch != nil {
				ch.End, ch.Outcome = o.Start, o.Kind
				delete(open, o.Change)
			}
		}
	}
	return changes
}

func (c *checker) change(ch *Change) {
	r := c.report
	switch ch.Outcome {
	case Acked:
		if ch.Method == Set {
			r.SetsAcked++
		} else {
			r.DeletesAcked++
		}
		c.calls[ch.Key] = append(c.calls[ch.Key], ch)
		if overlaps(c.opts.Void, ch.Start, ch.End) {
			r.Voided++
			if ch = c.postponed(ch); ch == nil {
				return
			}
		}
		add(c.all, ch.Key, ch)
		add(c.own, owned{ch.Instance, ch.Key}, ch)
	case Failed:
		r.Failed++
	default:
		r.Unknown++
		if ch.End == math.MaxInt64 {
			r.Unanswered++
			if t, ok := c.gone[ch.Instance]; ok {
				ch.End = t
			}
		}
		if ch.Method == Set {
			c.late[valueOf{ch.Key, ch.Version}] = ch
		}
	}
}

// postponed gives a change from spans in which acknowledgements are void as one that was acknowledged when it begins to count, or
// nil.
func (c *checker) postponed(ch *Change) *Change {
	later := *ch
	for _, w := range c.opts.Void {
		if !w.overlaps(ch.Start, ch.End) {
			continue
		}
		if w.Until == 0 {
			return nil
		}
		later.End = max(later.End, w.Until)
	}
	return &later
}

func add[K comparable](m map[K]*superseded, k K, ch *Change) {
	s := m[k]
	if s == nil {
		s = &superseded{}
		m[k] = s
	}
	s.acked = append(s.acked, ch)
}

func (c *checker) read(instance string, bound time.Duration, o Op) {
	if !c.count(instance, o) {
		return
	}
	var stale time.Duration
	missed := c.all[o.Key].by(o.Version)
	if missed != nil {
		stale = max(0, time.Duration(o.Start-missed.End))
	}
	mine := c.own[owned{instance, o.Key}].by(o.Version)
	tooOld, notMine := stale > bound, mine != nil && mine.End < o.Start
	if (tooOld || notMine) && c.excused(o, bound) {
		c.report.Excused++
		return
	}
	if c.opts.Each != nil {
		c.opts.Each(Judged{Instance: instance, Op: o, Missed: missed, Stale: stale, Own: notMine})
	}
	c.report.Checked[G2]++
	if len(c.own) > 0 && c.own[owned{instance, o.Key}] != nil && c.own[owned{instance, o.Key}].by(0).End < o.Start {
		c.report.Checked[G3]++
	}
	if tooOld {
		c.violation(Violation{Rule: G2, Instance: instance, Op: o, Missed: missed, Stale: stale})
	}
	if notMine {
		c.violation(Violation{Rule: G3, Instance: instance, Op: o, Missed: mine, Stale: time.Duration(o.Start - mine.End)})
	}
	s, i := &c.report.Calm, 0
	if overlaps(c.opts.Faults, o.Start, o.Start) {
		s, i = &c.report.Faulty, 1
	}
	s.Reads++
	if stale > 0 {
		c.samples[i] = append(c.samples[i], stale)
	}
}

// count counts a read, and tells whether there is a version to judge.
func (c *checker) count(instance string, o Op) bool {
	r := c.report
	switch o.Result {
	case Nothing:
		r.Missing++
		return false
	case Error:
		r.ReadErrors++
		return false
	}
	switch o.Tier {
	case Local:
		r.Local++
	case Remote:
		r.Remote++
	case Load:
		r.Loaded++
	default:
		r.Old++
	}
	return c.plausible(instance, o)
}

// plausible checks that the value is the key's own, and was committed, if it is known what was.
func (c *checker) plausible(instance string, o Op) bool {
	c.report.Checked[Alien]++
	if o.Result == Foreign {
		c.violation(Violation{Rule: Alien, Instance: instance, Op: o})
		return false
	}
	if c.report.Commits == 0 {
		return true
	}
	c.report.Checked[Invention]++
	commits := c.commits[o.Key]
	i := sort.Search(len(commits), func(i int) bool { return commits[i].Start > o.End })
	if i == 0 || commits[i-1].Version < o.Version {
		c.violation(Violation{Rule: Invention, Instance: instance, Op: o})
	}
	return true
}

func (c *checker) poll(instance string, o Op) {
	c.report.Polls++
	switch o.Result {
	case Nothing:
		c.report.PollsEmpty++
		return
	case Error:
		c.report.PollErrors++
		return
	}
	if !c.plausible(instance, o) {
		return
	}
	missed := c.all[o.Key].by(o.Version)
	tooOld := missed != nil && missed.End < o.Start
	if tooOld && c.excused(o, 0) {
		c.report.Excused++
		return
	}
	c.report.Checked[G1]++
	if tooOld {
		c.violation(Violation{Rule: G1, Instance: instance, Op: o, Missed: missed, Stale: time.Duration(o.Start - missed.End)})
	}
}

// excused tells whether the value may be that of a Set of unknown outcome, which happened late: until a change that certainly
// came after it was acknowledged, and its bound has passed.
func (c *checker) excused(o Op, bound time.Duration) bool {
	late := c.late[valueOf{o.Key, o.Version}]
	if late == nil || o.End < late.Start {
		return false
	}
	if late.End > math.MaxInt64-int64(c.opts.Late) {
		return true
	}
	calls := c.calls[o.Key]
	i := sort.Search(len(calls), func(i int) bool { return calls[i].Start > late.End+int64(c.opts.Late) })
	return i == len(calls) || o.Start <= c.ended[o.Key][i]+int64(bound)
}

// similar are violations of which one is enough.
type similar struct {
	rule     Rule
	instance string
	missed   *Change
}

func (c *checker) violation(v Violation) {
	r := c.report
	r.Broken[v.Rule]++
	same := similar{v.Rule, v.Instance, v.Missed}
	if i, ok := c.kept[same]; ok && v.Missed != nil {
		if r.Violations[i].Stale < v.Stale { // the worst of them
			r.Violations[i].Op, r.Violations[i].Stale = v.Op, v.Stale
		}
		return
	}
	n := 0
	for _, kept := range r.Violations {
		if kept.Rule == v.Rule {
			n++
		}
	}
	if n >= c.opts.Keep {
		return
	}
	from := v.Op.Start
	if v.Missed != nil {
		from = v.Missed.Start
	}
	for _, w := range c.opts.Faults {
		if w.overlaps(from, v.Op.End) {
			v.During = append(v.During, w.Name)
		}
	}
	c.kept[same] = len(r.Violations)
	r.Violations = append(r.Violations, v)
}
