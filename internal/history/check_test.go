package history

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// parse reads logs written one after another: "h" begins the next.
func parse(t testing.TB, text string) []*Log {
	t.Helper()
	var logs []*Log
	for part := range strings.SplitSeq("\n"+strings.Join(strings.Fields(strings.ReplaceAll(text, "\n", " ; ")), " "), "h ") {
		lines := strings.Split(part, ";")
		var b strings.Builder
		for _, line := range lines {
			if line = strings.TrimSpace(line); line != "" {
				b.WriteString(line + "\n")
			}
		}
		if b.Len() == 0 {
			continue
		}
		l, err := ReadLog(strings.NewReader("h " + b.String()))
		if err != nil {
			t.Fatal(err)
		}
		logs = append(logs, l)
	}
	return logs
}

// options of the tables: times are small numbers of nanoseconds.
var options = Options{Bound: 100, Late: 50}

const source = `
	h source 0
	c 1 7 1
	c 100 7 2
	c 200 7 3
`

// What was read is told one read at a time, in any history: one without commits is held to all rules but one.
func TestEachReadIsTold(t *testing.T) {
	var told []string
	opts := options
	opts.Each = func(j Judged) {
		told = append(told, fmt.Sprint(j.Instance, " ", j.Op.Version, " ", int64(j.Stale), " ", j.Missed != nil, " ", j.Own))
	}
	r := Check(parse(t, `
		h a 0
		s 110 1 7 2 d
		a 120 1
		s 130 2 7 3 d
		a 140 2
		r 130 131 7 n 1
		r 150 151 7 f 2
		r 150 151 7 n 3
		r 150 151 7 n -
		h b 0
		r 119 125 7 n 1
		r 240 241 7 l 1`), opts)
	want := "[a 1 10 true true a 2 10 true true a 3 0 false false b 1 0 true false b 1 120 true false]"
	if got := fmt.Sprint(told); got != want {
		t.Errorf("told %s, want %s", got, want)
	}
	if r.Checked[Invention] != 0 || r.Broken != [Rules]int{G2: 1, G3: 2} {
		t.Errorf("checked %v, broken %v", r.Checked, r.Broken)
	}
}

func TestEachRuleCatchesWhatBreaksIt(t *testing.T) {
	tests := []struct {
		name, history string
		opts          func(*Options)
		want          Rule
	}{
		{name: "Redis holds an old value after a delete", want: G1, history: source + `
			h a 0
			s 110 1 7 2 d
			a 120 1
			h poller 0
			p 121 122 7 1`},
		{name: "Redis holds an old value after a set", want: G1, history: source + `
			h a 0
			s 110 1 7 2 s
			a 120 1
			h poller 0
			p 119 122 7 1
			p 500 501 7 1`},
		{name: "Redis holds a value from before a loss, and was changed after it", want: G1,
			opts: func(o *Options) { o.Void = []Window{{From: 115, To: 130}} }, history: source + `
			h a 0
			s 110 1 7 2 d
			a 120 1
			s 210 2 7 3 d
			a 220 2
			h poller 0
			p 300 301 7 1`},
		{name: "a loss that was to be made good for", want: G1,
			opts: func(o *Options) { o.Void = []Window{{From: 115, To: 130, Until: 250}} }, history: source + `
			h a 0
			s 110 1 7 2 d
			a 120 1
			r 240 241 7 n 1
			h poller 0
			p 250 251 7 1
			p 251 252 7 1`},
		{name: "local copy past the bound", want: G2, history: source + `
			h a 0
			s 110 1 7 2 d
			a 120 1
			h b 0
			r 221 222 7 n 1`},
		{name: "the oldest acknowledgement counts, not the newest", want: G2, history: source + `
			h a 0
			s 110 1 7 2 d
			a 120 1
			s 210 2 7 3 d
			a 220 2
			h b 0
			r 230 240 7 n 1`},
		{name: "a later version acknowledged first", want: G2, history: source + `
			h a 0
			s 110 1 7 2 d
			h c 0
			s 205 1 7 3 d
			a 210 1
			h b 0
			r 311 312 7 f 2`},
		{name: "an instance's own bound", want: G2, history: source + `
			h a 0
			s 110 1 7 2 d
			a 120 1
			h b 10
			r 131 132 7 n 1`},
		{name: "acknowledged by a retry", want: G2, history: source + `
			h a 0
			s 110 1 7 2 d
			u 120 1
			s 121 2 7 2 d
			a 130 2
			h b 0
			r 231 232 7 n 1`},
		{name: "set of unknown outcome after a certain change has passed", want: G2, history: source + `
			h a 0
			s 110 1 7 2 s
			u 120 1
			s 205 2 7 3 s
			a 210 2
			h b 0
			r 311 312 7 n 2`},
		{name: "failed set is not excused", want: G2, history: source + `
			h a 0
			s 110 1 7 2 s
			f 120 1
			s 121 2 7 3 s
			a 130 2
			h b 0
			r 231 232 7 n 2`},
		{name: "own delete not read", want: G3, history: source + `
			h a 0
			s 110 1 7 2 d
			a 120 1
			r 121 122 7 n 1`},
		{name: "own set not read, from Redis", want: G3, history: source + `
			h a 0
			s 110 1 7 2 s
			a 120 1
			r 121 122 7 f 1`},
		{name: "never committed", want: Invention, history: source + `
			h a 0
			r 300 301 7 n 4`},
		{name: "committed after the read", want: Invention, history: source + `
			h a 0
			r 150 199 7 l 3`},
		{name: "never committed, in Redis", want: Invention, history: source + `
			h a 0
			p 150 160 7 9`},
		{name: "a key without a source", want: Invention, history: source + `
			h a 0
			r 150 199 8 l 1`},
		{name: "another key's value", want: Alien, history: source + `
			h a 0
			r 150 199 7 n ?`},
		{name: "another key's value in Redis", want: Alien, history: source + `
			h a 0
			p 150 199 7 ?`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := options
			if tt.opts != nil {
				tt.opts(&o)
			}
			r := Check(parse(t, tt.history), o)
			want := [Rules]int{}
			want[tt.want] = 1
			if r.Broken != want {
				t.Errorf("broken %v, want %v:\n%v", r.Broken, want, r)
			}
			if len(r.Violations) != 1 || r.Violations[0].Rule != tt.want || r.OK() {
				t.Errorf("violations %v", r.Violations)
			}
		})
	}
}

func TestWhatIsAllowedIsNoViolation(t *testing.T) {
	tests := []struct {
		name, history string
		opts          func(*Options)
		excused       int
	}{
		{name: "stale as long as the bound", history: source + `
			h a 0
			s 110 1 7 2 d
			a 120 1
			h b 0
			r 220 900 7 n 1`},
		{name: "an instance of a wider bound", history: source + `
			h a 0
			s 110 1 7 2 d
			a 120 1
			h b 200
			r 320 321 7 n 1`},
		{name: "newer than acknowledged", history: source + `
			h a 0
			s 110 1 7 2 d
			a 120 1
			r 200 201 7 l 3`},
		{name: "read began before the own change was acknowledged", history: source + `
			h a 0
			s 110 1 7 2 d
			a 120 1
			r 120 130 7 n 1`},
		{name: "another's write need not be read at once", history: source + `
			h a 0
			s 110 1 7 2 d
			a 120 1
			h b 0
			r 121 130 7 n 1`},
		{name: "poll that began before the acknowledgement", history: source + `
			h a 0
			s 110 1 7 2 d
			a 120 1
			h poller 0
			p 120 500 7 1
			p 121 500 7 -
			p 121 500 7 !`},
		{name: "a change that failed promises nothing", history: source + `
			h a 0
			s 110 1 7 2 d
			f 120 1
			s 111 2 7 2 d
			u 120 2
			r 500 501 7 n 1
			r 500 501 7 n -
			r 500 501 7 n !`},
		{name: "a change that was never answered promises nothing", history: source + `
			h a 0
			s 110 1 7 2 d
			h b 0
			r 500 501 7 n 1`},
		{name: "what a server lost", opts: func(o *Options) { o.Void = []Window{{From: 120, To: 120}} }, history: source + `
			h a 0
			s 110 1 7 2 d
			a 120 1
			r 500 501 7 n 1
			p 500 501 7 1`},
		{name: "what one server lost, and another made good for",
			opts: func(o *Options) { o.Void = []Window{{From: 90, To: 120}, {From: 90, To: 120, Until: 200}} }, history: source + `
			h a 0
			s 110 1 7 2 d
			a 120 1
			r 500 501 7 n 1`},
		{name: "what was lost, and is made good for within the bound",
			opts: func(o *Options) { o.Void = []Window{{From: 90, To: 120, Until: 200}} }, history: source + `
			h a 0
			s 110 1 7 2 d
			a 120 1
			h b 0
			r 300 501 7 n 1
			p 200 201 7 1`},
		{name: "set of unknown outcome", excused: 2, history: source + `
			h a 0
			s 110 1 7 2 s
			u 120 1
			s 170 2 7 3 s
			a 180 2
			h b 0
			r 300 301 7 n 2
			p 190 191 7 2`},
		{name: "set of a process that was killed", excused: 2, history: source + `
			h a 0
			s 110 1 7 2 s
			h b 0
			s 121 2 7 3 s
			a 130 2
			x 150 a
			s 201 3 7 3 s
			a 210 3
			r 240 241 7 n 2
			r 300 301 7 n 2
			h source2 0`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := options
			if tt.opts != nil {
				tt.opts(&o)
			}
			if r := Check(parse(t, tt.history), o); !r.OK() || r.Excused != tt.excused {
				t.Errorf("%v", r)
			}
		})
	}
}

func TestFiguresOfAReport(t *testing.T) {
	r := Check(parse(t, source+`
		h a 0
		s 110 1 7 2 d
		a 120 1
		s 210 2 7 3 s
		a 220 2
		s 230 3 7 3 s
		f 231 3
		s 232 4 7 3 s
		u 233 4
		s 234 5 7 3 d
		h b 0
		r 130 131 7 n 1
		r 170 171 7 n 1
		r 240 241 7 f 2
		r 300 301 7 l 3
		r 300 301 7 o 3
		r 300 301 7 n -
		r 300 301 7 n !
		h poller 0
		p 130 131 7 2
		p 130 131 7 -
		p 130 131 7 !`), Options{Bound: 100, Faults: []Window{{From: 160, To: 250}}})
	if !r.OK() {
		t.Error(r)
	}
	got := fmt.Sprint(r.Logs, r.Local, r.Remote, r.Loaded, r.Old, r.Missing, r.ReadErrors, "|", r.Commits, r.SetsAcked, r.DeletesAcked,
		r.Failed, r.Unknown, r.Unanswered, "|", r.Polls, r.PollsEmpty, r.PollErrors, "|", r.Checked, "|", r.Calm, "|", r.Faulty)
	want := fmt.Sprint(4, 2, 1, 1, 1, 1, 1, "|", 3, 1, 1, 1, 2, 1, "|", 3, 1, 1, "|", [Rules]int{1, 5, 0, 6, 6},
		"|", Staleness{Reads: 3, Stale: 1, P50: 10, P99: 10, Max: 10}, "|", Staleness{Reads: 2, Stale: 2, P50: 50, P99: 50, Max: 50})
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// A cache that is wrong once is wrong for many reads: the report shows each mistake once, at its worst.
func TestSimilarViolationsAreShownOnce(t *testing.T) {
	r := Check(parse(t, source+`
		h a 0
		s 110 1 7 2 d
		a 120 1
		s 210 2 7 3 d
		a 211 2
		h b 0
		r 400 401 7 n 2
		r 230 240 7 n 1
		r 250 260 7 n 1
		r 235 240 7 n 1
		h c 0
		r 240 245 7 n 1`), Options{Bound: 100, Faults: []Window{{From: 1, To: 109, Name: "before"}, {From: 115, To: 116, Name: "one"}, {From: 220, To: 300, Name: "two"}}})
	if r.Broken[G2] != 5 || len(r.Violations) != 3 {
		t.Fatal(r)
	}
	if v := r.Violations[1]; v.Instance != "b" || v.Stale != 130 || fmt.Sprint(v.During) != "[one two]" {
		t.Errorf("%+v", v)
	}
	if r := Check(parse(t, source+"\nh a 0\n"+strings.Repeat("r 150 160 7 n 9\n", 30)), Options{}); r.Broken[Invention] != 30 || len(r.Violations) != 10 {
		t.Error(r)
	}
}

// run makes the history of a cache that keeps every promise: instances read what is acknowledged, or are up to the bound behind.
func run(random *rand.Rand, bound int64) []*Log {
	const keys, instances = 3, 4
	var committed, acked [keys]uint64
	var since [keys]map[uint64]int64 // when a version was first superseded by an acknowledged one
	source := &Log{Instance: "source"}
	logs := []*Log{source}
	var own [instances][keys]uint64
	for i := range instances {
		logs = append(logs, &Log{Instance: fmt.Sprint("i", i)})
	}
	now := int64(1)
	for k := range uint32(keys) {
		committed[k], acked[k], since[k] = 1, 1, map[uint64]int64{}
		source.Ops = append(source.Ops, Op{Kind: Commit, Start: now, Key: k, Version: 1})
	}
	for n := range uint64(400) {
		now += 1 + random.Int64N(20)
		i, k := random.IntN(instances), uint32(random.IntN(keys))
		l := logs[i+1]
		if random.IntN(4) == 0 {
			committed[k]++
			source.Ops = append(source.Ops, Op{Kind: Commit, Start: now, Key: k, Version: committed[k]})
			l.Ops = append(l.Ops, Op{Kind: Begin, Start: now + 1, Change: n, Key: k, Version: committed[k], Method: Delete},
				Op{Kind: Acked, Start: now + 5, Change: n})
			now += 5
			for v := acked[k]; v < committed[k]; v++ {
				since[k][v] = now
			}
			acked[k], own[i][k] = committed[k], committed[k]
			continue
		}
		v := acked[k]
		for v > max(1, own[i][k]) && now-since[k][v-1] <= bound && random.IntN(2) == 0 {
			v--
		}
		l.Ops = append(l.Ops, Op{Kind: Read, Start: now, End: now + 2, Key: k, Tier: Local, Result: Value, Version: v})
	}
	return logs
}

func TestEveryMutantOfAGoodHistoryIsCaught(t *testing.T) {
	const bound = 100
	mutants := 0
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 1))
		logs := run(random, bound)
		if r := Check(logs, Options{Bound: bound}); !r.OK() {
			t.Fatalf("seed %d: the history is good:\n%v", seed, r)
		}
		// One read is made older than what was acknowledged its bound ago.
		log := logs[1+random.IntN(len(logs)-1)]
		for i := range log.Ops {
			o := &log.Ops[random.IntN(len(log.Ops))]
			if o.Kind != Read || o.Version < 3 || i < 20 {
				continue
			}
			was := o.Version
			newest := uint64(0) // acknowledged the bound ago, by anybody
			for _, l := range logs {
				for _, ch := range changesOf(l) {
					if ch.Key == o.Key && ch.Outcome == Acked && ch.End < o.Start-bound {
						newest = max(newest, ch.Version)
					}
				}
			}
			if newest < 2 {
				continue
			}
			o.Version = newest - 1
			if r := Check(logs, Options{Bound: bound}); r.Broken[G2] != 1 {
				t.Fatalf("seed %d: version %d read as %d is not caught:\n%v", seed, was, o.Version, r)
			}
			mutants++
			break
		}
	}
	if mutants < 50 {
		t.Errorf("only %d mutants", mutants)
	}
}

func BenchmarkCheck(b *testing.B) {
	const reads = 100_000
	source, reader, writer := &Log{Instance: "source"}, &Log{Instance: "r"}, &Log{Instance: "w"}
	for n := range uint64(reads) {
		at := int64(n+1) * 10
		if n%20 == 0 {
			source.Ops = append(source.Ops, Op{Kind: Commit, Start: at, Version: n + 1})
			writer.Ops = append(writer.Ops, Op{Kind: Begin, Start: at, Change: n, Version: n + 1, Method: Delete}, Op{Kind: Acked, Start: at + 2, Change: n})
		}
		reader.Ops = append(reader.Ops, Op{Kind: Read, Start: at, End: at + 1, Tier: Local, Result: Value, Version: n - n%20 + 1})
	}
	for b.Loop() {
		if r := Check([]*Log{source, writer, reader}, Options{Bound: time.Second}); !r.OK() {
			b.Fatal(r)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/reads, "ns/read")
}
