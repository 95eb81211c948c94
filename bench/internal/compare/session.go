package compare

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/bench/internal/peers"
	"github.com/doppio-cache/doppio/bench/internal/result"
	"github.com/doppio-cache/doppio/bench/internal/server"
)

// row is one piece of work that may be measured.
type row struct {
	group, name string
	unit        string
	more        bool
	baseline    string
	// measure returns a cell for each subject: with an error, of what was measured until then.
	measure func(ctx context.Context, r *row) ([]result.Cell, error)
}

// group is rows that share what they open.
type group struct {
	rows  []*row
	close func(ctx context.Context) error // may be nil
}

// session is one run.
type session struct {
	o          Options
	srv        *server.Server
	addr       string
	db         int
	namespaces int
	rowsDone   int
	rowsWanted int

	infos    []result.Subject // of who takes part
	accounts bench[peers.Account]
	blobs    bench[[]byte]
	numbers  bench[int64]
}

// Run compares. When ctx ends first, it returns what was measured until then, with the error of ctx.
func Run(ctx context.Context, o Options) (*result.Compare, error) {
	return newSession(o).run(ctx)
}

func newSession(o Options) *session {
	s := &session{o: o.withDefaults()}
	s.accounts = bench[peers.Account]{
		subjects: peers.All[peers.Account](), make: peers.NewAccount, mark: func(a peers.Account) int64 { return a.ID },
	}
	s.blobs = bench[[]byte]{subjects: peers.All[[]byte](), make: peers.NewBlob, mark: markBlob}
	s.numbers = bench[int64]{subjects: peers.All[int64](), make: func(i int) int64 { return int64(i) }, mark: func(n int64) int64 { return n }}
	return s
}

// groups in the order of the table.
func (s *session) groups() []*group {
	return []*group{
		s.localHits(), s.remoteReads(), s.changes(), s.stampedes(), s.mixes(), s.memory(), s.commands(), s.idles(),
	}
}

func (s *session) run(ctx context.Context) (*result.Compare, error) {
	if err := s.o.validate(); err != nil {
		return nil, err
	}
	groups, err := s.selected()
	if err != nil {
		return nil, err
	}
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	out := &result.Compare{Subjects: s.infos, Rounds: s.o.Rounds}
	for _, g := range groups {
		err = s.runGroup(ctx, g, out)
		if err != nil {
			break
		}
	}
	return out, errors.Join(err, s.srv.Close())
}

func (s *session) runGroup(ctx context.Context, g *group, out *result.Compare) (err error) {
	if g.close != nil {
		defer func() { err = errors.Join(err, g.close(context.WithoutCancel(ctx))) }()
	}
	for _, r := range g.rows {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.tell(r, 0)
		cells, err := r.measure(ctx, r)
		if slices.ContainsFunc(cells, func(c result.Cell) bool { return c.Missing != notReached }) {
			out.Rows = append(out.Rows, result.Row{Group: r.group, Name: r.name, Unit: r.unit, More: r.more, Baseline: r.baseline, Cells: cells})
		}
		if err != nil {
			return err
		}
		s.rowsDone++
	}
	return nil
}

// tell tells how far the run has come, within the row too.
func (s *session) tell(r *row, within float64) {
	s.o.Progress((float64(s.rowsDone)+within)/float64(max(1, s.rowsWanted)), FullName(r.group, r.name))
}

// selected are the rows that were asked for; what was asked for must exist.
func (s *session) selected() ([]*group, error) {
	var groups []*group
	all := s.groups()
	var known []string
	for _, g := range all {
		known = append(known, groupNames(g)...)
	}
	unmet := slices.Clone(s.o.Only)
	for _, g := range all {
		g.rows = slices.DeleteFunc(g.rows, func(r *row) bool {
			if len(s.o.Only) == 0 {
				return false
			}
			met := false
			for _, only := range s.o.Only {
				if s.o.means(only, known, r) {
					met = true
					unmet = slices.DeleteFunc(unmet, func(u string) bool { return u == only })
				}
			}
			return !met
		})
		if len(g.rows) > 0 {
			groups = append(groups, g)
			s.rowsWanted += len(g.rows)
		}
	}
	if len(unmet) > 0 {
		return nil, fmt.Errorf("%w: Only has %q, which is part of no row; groups are %s", ErrOptions, unmet, strings.Join(known, ", "))
	}
	names := s.subjectNames()
	for _, name := range s.o.Subjects {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("%w: Subjects has %q, must be some of %s", ErrOptions, name, strings.Join(names, ", "))
		}
	}
	for _, p := range s.accounts.subjects {
		if s.takesPart(p.Info.Name, groups) {
			s.infos = append(s.infos, p.Info)
		}
	}
	return groups, nil
}

func (s *session) subjectNames() []string {
	names := make([]string, 0, len(s.accounts.subjects))
	for _, p := range s.accounts.subjects {
		names = append(names, p.Info.Name)
	}
	return names
}

func groupNames(g *group) []string {
	var names []string
	for _, r := range g.rows {
		if !slices.Contains(names, r.group) {
			names = append(names, r.group)
		}
	}
	return names
}

// takesPart reports whether a subject was asked for, or is some row's baseline.
func (s *session) takesPart(subject string, groups []*group) bool {
	if len(s.o.Subjects) == 0 || slices.Contains(s.o.Subjects, subject) {
		return true
	}
	return slices.ContainsFunc(groups, func(g *group) bool {
		return slices.ContainsFunc(g.rows, func(r *row) bool { return r.baseline == subject })
	})
}

// open starts the server, or dials the given one.
func (s *session) open(ctx context.Context) error {
	o := server.Options{Kind: server.Standalone}
	if s.o.Redis != "" {
		given, err := redis.ParseURL(s.o.Redis)
		if err != nil {
			return fmt.Errorf("%w: Redis must be redis://host:port/db", ErrOptions) // the error would show the URL
		}
		if given.Username != "" || given.Password != "" || given.TLSConfig != nil {
			return fmt.Errorf("%w: Redis must be a server without password and TLS: not every library is given them here", ErrOptions)
		}
		o, s.db = server.Options{Kind: server.Given, URL: s.o.Redis}, given.DB
	}
	srv, err := server.Open(ctx, o)
	if err != nil {
		return err
	}
	s.srv, s.addr = srv, srv.Addrs()[0]
	s.o.Opened(srv.Version())
	return nil
}

// namespace is a new one, and no other one begins with it.
func (s *session) namespace() string {
	s.namespaces++
	return fmt.Sprintf("%s-%04d", s.srv.Namespace(), s.namespaces)
}

// contest prepares one of this session's.
func (s *session) contest(r *row, callers int, entrants []*entrant) *contest {
	return &contest{
		callers: callers, rounds: s.o.Rounds, slice: s.o.Slice, entrants: entrants, order: s.order(),
		stepped: func(round int) { s.tell(r, float64(round+1)/float64(s.o.Rounds)) },
	}
}

// order is the randomness of the order in which subjects work.
func (s *session) order() *rand.Rand { return rand.New(rand.NewPCG(s.o.Seed, uint64(s.rowsDone))) }

// calls are how many commands the server has run, those of scripts included.
func (s *session) calls(ctx context.Context) (float64, error) { return s.callsOf(ctx, nil) }

// callsOf are how many of these commands it has run; nil means all.
func (s *session) callsOf(ctx context.Context, commands []string) (float64, error) {
	sample, err := s.srv.Sample(ctx)
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for name, n := range sample.Calls {
		if commands == nil || slices.Contains(commands, name) {
			sum += n
		}
	}
	return sum, nil
}

const (
	commandsPerOp    = "commands/op"     // that clients send
	commandsRunPerOp = "commands run/op" // by the server, those of scripts included
	readsPerOp       = "reads of Redis/op"
)

func (s *session) watchCommands(ctx context.Context) (map[string]float64, error) {
	n, err := s.calls(ctx)
	return map[string]float64{commandsRunPerOp: n}, err
}

// reads are how many reads the server has answered: every subject here reads by GET.
func (s *session) reads(ctx context.Context) (float64, error) { return s.callsOf(ctx, []string{"get"}) }

// watchReads watches what a read that is no local hit sends.
func (s *session) watchReads(ctx context.Context) (map[string]float64, error) {
	n, err := s.reads(ctx)
	return map[string]float64{readsPerOp: n}, err
}
