package main

// The attacks. Each is also made on the implementation as it is, which has to hold.
var (
	// Loads and messages that take their time, and instances that stop for moments, widen every window.
	slow = attack{topology: "standalone", faults: "slow-loads,slow-subscription,stutter-instance", seed: 1}
	// A subscription that loses messages, and one that brings none for a while, and is then another.
	lossy = attack{topology: "standalone", faults: "lose-invalidations,lose-all-invalidations", seed: 1}
	deaf  = attack{topology: "standalone", faults: "stall-subscription,hole-subscription", seed: 1}
	// What a subscription brings when it counts hardly any more.
	late = attack{topology: "standalone", faults: "late-echo", seed: 1}
	// What a server loses. Once it is back, what it has lost has to be made good for.
	amnesia = attack{topology: "standalone", faults: "restart-old,lane-deleted-unheard", seed: 1, strict: true}
	// A Cluster, where data and lane are two steps.
	apart = attack{topology: "cluster", faults: "slow-replies,stall-commands,stutter-instance", seed: 1}
)

const (
	g1 = "G1"
	g2 = "G2"
	g3 = "G3"
)

// Where several mechanisms do the same, a mutant takes all of them away: what is broken is what they are for.
var mutants = []mutant{
	{
		name: "a fill without compare-and-set", model: 1, attack: slow, rules: []string{g1},
		why: "a load that began before a change must not bring the old value back",
		edits: []edit{{
			"remote/script/fill.lua",
			`if string.sub(h, 2, 17) ~= ARGV[1] then return 0 end`,
			``,
		}},
	},
	{
		name: "one lease token per client", model: 2, attack: slow, rules: []string{g1},
		why: "a lease that was taken away, and taken again by the same instance, must not admit the first load",
		edits: []edit{{
			"tiered/lease.go",
			`token := remote.NewToken()`,
			`token := oneToken`,
		}, {
			"tiered/lease.go",
			`// newWaiter returns a waiter`,
			`var oneToken = remote.NewToken()

// newWaiter returns a waiter`,
		}},
	},
	{
		name: "the stamp is taken when the load ends", model: 3, attack: slow, rules: []string{g2, g3},
		why: "a change that became known during a load must invalidate what it gives",
		edits: []edit{{
			"tiered/localcopy.go",
			`e.Stamp.Store(from.Stamp)`,
			`e.Stamp.Store(s.validity.Point(hash).Stamp)`,
		}},
	},
	{
		name: "gaps and lost tails go unnoticed", model: 4, attack: lossy, rules: []string{g2},
		why: "a message that was lost must not leave a stale copy behind",
		edits: []edit{
			{
				"invalidation/sequence.go",
				`	case previous > c.applied:
		c.startSync()
		c.collect(previous, id)
		return DropGap
`,
				``,
			},
			{
				"invalidation/sequence.go",
				`	case newest > c.applied:
		c.startSync()
		return DropTailLost
`,
				`	case newest > c.applied:
		c.applied = newest
`,
			},
			{
				"invalidation/sequence.go",
				`	case c.hasRun && c.runFrom > id:
		why = DropGap
`,
				``,
			},
		},
	},
	{
		name: "the trust window does not end", model: 5, attack: deaf, rules: []string{g2},
		why: "an instance that hears nothing must not serve for longer than the bound",
		edits: []edit{
			{
				"internal/coherence/events.go",
				`l.until, l.refused = max(l.until, local.After(at, m.opts.MaxStaleness)), nil`,
				`l.until, l.refused = local.Never, nil`,
			},
			{
				"internal/coherence/events.go",
				`	l.until = min(l.until, local.Monotonic())
`,
				``,
			},
		},
	},
	{
		name: "a Cluster's lane is told before the data is changed", model: 6, attack: apart, rules: []string{g2},
		why: "an instance that hears of a change must not find the old record in Redis",
		edits: []edit{
			{
				"remote/write.go",
				`		data := s.withDeadline(ctx, op, st.data)
		v, err := sc.Run(`,
				`		var told writeResult
		if st.twoSteps {
			v, err := scriptAnnounce.Run(ctx, s.rdb, st.lane.Keys, st.lane.Args...)
			if told.setAnnouncement(op, v, err); told.err != nil {
				return told, told.err
			}
		}
		data := s.withDeadline(ctx, op, st.data)
		v, err := sc.Run(`,
			},
			{
				"remote/write.go",
				`			reportToBreaker(ctx, out.err)
			ctx := context.WithoutCancel(ctx)
			s.announceEach(ctx, []luascript.Call{st.lane}, func(_ int, v any, err error) { out.setAnnouncement(op, v, err) })
			s.raiseStamps(ctx, op, []stampedWrite{{c.key, c.record, &out}})
`,
				`			out.id = told.id
`,
			},
		},
	},
	{
		name: "own messages are passed over, and an acknowledgement raises nothing", model: 7, attack: slow, rules: []string{g2, g3},
		why: "what was read while an own change was under way may be what was there before it",
		edits: []edit{
			ackRaisesNothing,
			{
				"internal/coherence/events.go",
				`		if m.own.hear(msg.Publisher) {
			return
		}
		m.retries.confirm(msg.Publisher)
`,
				`		if !m.own.hear(msg.Publisher) {
			m.retries.confirm(msg.Publisher)
		}
		return
`,
			},
		},
	},
	{
		name: "any load is joined", model: 8, attack: slow, rules: []string{g3},
		why: "a caller that comes after a change must not get what a load has read before it",
		edits: []edit{{
			"tiered/getorset.go",
			`if c == nil || !r.unchanged(f.Info.Stamp) || !c.TagsValid(f.Info.tags, f.Info.Stamp) {
		return false
	}`,
			`if c != nil {
		return true
	}`,
		}},
	},
	{
		name: "copies are removed by messages, not judged when read", model: 9, attack: slow, rules: []string{g2, g3},
		why:   "a copy that is stored after the message which would have removed it must not be served",
		edits: removal,
	},
	{
		name: "an acknowledgement raises nothing", model: 10, attack: slow, rules: []string{g3},
		why: "a caller must see its own change without waiting for the message",
		edits: []edit{
			ackRaisesNothing,
			{
				"internal/coherence/events.go",
				`		if m.own.hear(msg.Publisher) {
			return
		}
		m.retries.confirm(msg.Publisher)
`,
				`		if !m.own.hear(msg.Publisher) {
			m.retries.confirm(msg.Publisher)
		}
`,
			},
		},
	},
	{
		name: "a message of several changes names the first key only", attack: slow, rules: []string{g2},
		why: "changes that are made together have one message, which has to say what all of them are about",
		edits: []edit{{
			"internal/coherence/change.go",
			`Publisher: p, Hashes: hashes})`,
			`Publisher: p, Hashes: hashes[:1]})`,
		}},
	},
	{
		name: "nothing is replayed after a cut", attack: deaf, rules: []string{g2},
		why: "what was published while there was no subscription must be heard of",
		edits: []edit{{
			"invalidation/replay.go",
			`			r.deliver(m)
`,
			`			_ = m
`,
		}},
	},
	{
		name: "trust begins when an echo arrives", attack: late, rules: []string{g2},
		why: "an echo says what had been published when it was sent, not what has been since",
		edits: []edit{
			{
				"invalidation/probe.go",
				`	if q.sentAt.After(s.probedAt) {
`,
				`	if q.sentAt = time.Now(); q.sentAt.After(s.probedAt) {
`,
			},
		},
	},
	{
		name: "lost history is ignored", attack: amnesia, rules: []string{g2},
		why: "a lane that begins anew does not tell what was in it before",
		edits: []edit{{
			"internal/coherence/events.go",
			`		m.partLane(index, ended)
`,
			`		return
`,
		}, {
			"internal/lane/lane.lua",
			`  if not lane_later(known, knownSeq, before, beforeSeq) or`,
			`  if true or not lane_later(known, knownSeq, before, beforeSeq) or`,
		}},
	},
	{
		name: "remote floors are ignored", attack: amnesia, rules: []string{g2, g3},
		why: "a server that is back as it was before holds values that were invalidated since",
		edits: []edit{{
			"internal/coherence/cache.go",
			`return c.minIDs[c.LaneOf(hash)].Load()`,
			`return 0 * hash`,
		}},
	},
}

// ackRaisesNothing: the table is not raised when an own change ends, which is when it is raised for one.
var ackRaisesNothing = edit{
	"invalidation/table.go",
	`	return t.raiseAll(hashes), unchanged
`,
	`	return t.clock.Load(), unchanged
`,
}

// removal keeps how to remove each local copy, does it where the table is raised, and does not ask the
// table when one is read.
var removal = []edit{
	{
		"internal/coherence/manager.go",
		`	own     ownChanges
`,
		`	copies  sync.Map // by hash: what removes the local copy
	own     ownChanges
`,
	},
	{
		"internal/coherence/manager.go",
		`// New returns a Manager that trusts nothing until Listen was called.
`,
		`func (m *Manager) remove(hashes []uint64) {
	for _, h := range hashes {
		if f, ok := m.copies.Load(h); ok {
			f.(func())()
		}
	}
}

// New returns a Manager that trusts nothing until Listen was called.
`,
	},
	{
		"internal/coherence/view.go",
		`		scope.Set(v.hash, e)
`,
		`		hash := v.hash
		c.copies.Store(hash, func() { scope.Delete(hash, e.Key()) })
		scope.Set(v.hash, e)
`,
	},
	{
		"internal/coherence/events.go",
		`		m.table.Raise(msg.Hashes...)
`,
		`		m.table.Raise(msg.Hashes...)
		m.remove(msg.Hashes)
`,
	},
	{
		"internal/coherence/change.go",
		`	at.Stamp, unchanged = ch.cache.Conclude(`,
		`	m.remove(hashes)
	at.Stamp, unchanged = ch.cache.Conclude(`,
	},
	{
		"internal/coherence/retry.go",
		`			q.m.table.Raise(attempts[i].hash)
`,
		`			q.m.table.Raise(attempts[i].hash)
			q.m.remove([]uint64{attempts[i].hash})
`,
	},
	{
		"internal/coherence/cache.go",
		`	return stamp >= c.min.Load() && c.table.Valid(hash, stamp)
`,
		`	return stamp >= c.min.Load()
`,
	},
}
