package model

import (
	"fmt"
	"hash/maphash"
	"strings"
)

// world is a configuration with the rules by which it goes, and what a step says of itself while a
// trace is told.
type world struct {
	config
	rules
	telling bool
	words   string
	broken  string
}

// step is one thing that may happen, for each of some: flights, calls, instances, keys, or once.
type step struct {
	count func(*world) int
	take  func(w *world, s *state, a int) bool // false: it cannot happen now
}

func eachFlight(w *world) int { return len(w.flights) }
func eachCall(w *world) int   { return len(w.changes) }
func eachKey(w *world) int    { return w.keys }
func eachInst(*world) int     { return instances }
func once(*world) int         { return 1 }

func whenRead(w *world) int { return int(bit(w.reader)) }

var steps = []step{
	{eachCall, (*world).commit}, {eachCall, (*world).begin}, {eachCall, (*world).execute}, {eachCall, (*world).acknowledge},
	{eachCall, (*world).keepOwn}, {eachCall, (*world).lift}, {eachCall, (*world).loseReply}, {eachCall, (*world).tryAgain}, {eachCall, (*world).retryReturns},
	{eachFlight, (*world).beginLoad}, {eachFlight, (*world).join}, {eachFlight, (*world).readRemote}, {eachFlight, (*world).compareTag},
	{eachFlight, (*world).readTag}, {eachFlight, (*world).readSource}, {eachFlight, (*world).fill}, {eachFlight, (*world).land},
	{eachInst, (*world).receive}, {eachInst, (*world).lose}, {eachInst, (*world).settle}, {whenRead, (*world).look},
	{eachInst, (*world).sendEcho}, {eachInst, (*world).executeEcho}, {eachInst, (*world).part}, {once, (*world).deleteLane},
	{eachInst, (*world).cutOff}, {eachInst, (*world).subscribe}, {eachInst, (*world).askForReplay}, {eachInst, (*world).replay},
	{eachKey, (*world).evictRemote}, {once, (*world).flush}, {once, (*world).trim}, {once, (*world).save}, {once, (*world).restart},
	{once, (*world).mark}, {once, (*world).expire},
}

// say notes what a step does, in words. It costs nothing while nobody listens.
func (w *world) say(format string, args ...uint8) {
	if w.telling {
		w.words = sentence(format, args)
	}
}

// tell is say with the name of a change for KIND.
func (w *world) tell(kind uint8, format string, args ...uint8) {
	if w.telling {
		w.words = strings.Replace(sentence(format, args), "KIND", kindNames[kind], 1)
	}
}

// breach notes that a property is broken; the first one counts.
func (w *world) breach(format string, args ...uint8) {
	if w.broken == "" {
		w.broken = sentence(format, args)
	}
}

func sentence(format string, args []uint8) string {
	list := make([]any, len(args))
	for i, a := range args {
		list[i] = a
	}
	return fmt.Sprintf(format, list...)
}

// result is what an exploration found.
type result struct {
	states, depth int
	broken        string   // the property, in words
	trace         []string // the shortest way there
	taken         []bool   // which steps could be taken
}

// node remembers how a state was reached first.
type node struct {
	parent    uint32
	step, arg uint8
}

// fingerprint identifies a state: 128 bits, so that two of a billion states have the same once in 10^20
// explorations.
type fingerprint [2]uint64

var seeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}

func fingerprintOf(s *state) fingerprint {
	return fingerprint{maphash.Comparable(seeds[0], *s), maphash.Comparable(seeds[1], *s)}
}

// start is where everything begins: empty tiers, a lane that has begun, and instances that have
// just been told that they are coherent.
func (w *world) start() state {
	s := state{gen: 1, left: w.may}
	for i := range s.inst {
		s.inst[i].trust = 1
		if !w.emptyIsKnown {
			s.inst[i].applied, s.inst[i].known = 1, 1
		}
	}
	if !w.emptyIsKnown {
		s.ids, s.server.lane, s.by[1] = 1, 1<<1, opened
	}
	w.canonical(&s)
	return s
}

// explore goes through all states, breadth first, until one breaks a property, or a level ends with
// more than limit (0: none).
func explore(c config, r rules, limit int) result {
	w := &world{config: c, rules: r}
	type open struct {
		s  state
		at uint32
	}
	first := w.start()
	seen := map[fingerprint]struct{}{fingerprintOf(&first): {}}
	nodes := []node{{}}
	level, next := []open{{first, 0}}, []open(nil)
	res := result{taken: make([]bool, len(steps))}
	s := new(state) // one for all steps, which would each allocate theirs
	for ; len(level) > 0; res.depth++ {
		for l := range level {
			for i := range steps {
				for a := range steps[i].count(w) {
					*s = level[l].s
					if !steps[i].take(w, s, a) {
						continue
					}
					res.taken[i] = true
					w.check(s)
					n := node{level[l].at, uint8(i), uint8(a)}
					if w.broken != "" {
						res.states, res.broken = len(nodes), w.broken
						res.trace = w.retell(append(nodes, n))
						return res
					}
					w.canonical(s)
					p := fingerprintOf(s)
					if _, ok := seen[p]; ok {
						continue
					}
					seen[p] = struct{}{}
					next = append(next, open{*s, uint32(len(nodes))})
					nodes = append(nodes, n)
				}
			}
		}
		if limit > 0 && len(nodes) > limit {
			break
		}
		level, next = next, level[:0]
	}
	res.states = len(nodes)
	return res
}

// retell takes the steps that lead to the last node once more, with words.
func (w *world) retell(nodes []node) []string {
	var way []node
	for at := uint32(len(nodes) - 1); at > 0; at = nodes[at].parent {
		way = append(way, nodes[at])
	}
	s := w.start()
	w.telling = true
	var words []string
	for i := len(way) - 1; i >= 0; i-- {
		w.words = ""
		steps[way[i].step].take(w, &s, int(way[i].arg))
		w.canonical(&s)
		if w.words != "" {
			words = append(words, w.words)
		}
	}
	return words
}
