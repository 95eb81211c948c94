package replay

import (
	"context"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/doppio-cache/doppio/bench/internal/result"
	"github.com/doppio-cache/doppio/bench/internal/trace"
)

func zipf(t testing.TB, requests int) *Trace {
	t.Helper()
	src, err := trace.NewZipf(trace.ZipfConfig{Requests: requests, Keys: 5000, Exponent: 1.1, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	tr, err := Load(t.Context(), "zipf", src, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func curveOf(r result.ReplayedTrace, policy string) *result.Curve {
	if i := slices.IndexFunc(r.Curves, func(c result.Curve) bool { return c.Policy == policy }); i >= 0 {
		return &r.Curves[i]
	}
	return nil
}

func at(t testing.TB, r result.ReplayedTrace, policy string, size int64) result.Point {
	t.Helper()
	c := curveOf(r, policy)
	if c == nil {
		t.Fatalf("no curve of %s", policy)
	}
	i := slices.IndexFunc(c.Points, func(p result.Point) bool { return p.Size == size })
	if i < 0 {
		t.Fatalf("%s: no point of %d entries", policy, size)
	}
	return c.Points[i]
}

// TestEveryPolicyIsReplayed: each has a point for each size, and none is above the optimum of as many entries as it held
// readable. Those that apply evictions later hold more than their bound for a moment.
func TestEveryPolicyIsReplayed(t *testing.T) {
	tr := zipf(t, 8_000)
	sizes := []int64{100, 1500}
	r, err := Run(t.Context(), tr, Options{Sizes: []int{1500, 100, 100}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Requests != 8_000 || r.Keys != int64(tr.Count) || !slices.Equal(r.Sizes, sizes) || len(r.Curves) != len(Policies()) {
		t.Errorf("%d requests, %d keys, sizes %v, %d curves", r.Requests, r.Keys, r.Sizes, len(r.Curves))
	}
	for _, size := range sizes {
		best := at(t, r, "optimum", size).HitRatio
		all := 1 - float64(tr.Count)/8_000
		for _, name := range PolicyNames() {
			p := at(t, r, name, size)
			bound := best
			if policy := Policies()[slices.Index(PolicyNames(), name)]; policy.alone {
				bound = all // what a cache without a bound has
			}
			// At full speed, ristretto has applied nothing where its goroutine gets no processor meanwhile.
			mayMissAll := name == "ristretto"
			if p.HitRatio == 0 && !mayMissAll || p.HitRatio < 0 || p.HitRatio > bound+1e-9 {
				t.Errorf("%s at %d entries: %.3f, and the bound is %.3f", name, size, p.HitRatio, bound)
			}
		}
	}
	points := curveOf(r, "LRU").Points
	if len(points) < fineSteps/2 {
		t.Errorf("the curve of LRU has %d points, want %d at least", len(points), fineSteps/2)
	}
	for i := 1; i < len(points); i++ {
		if before, p := points[i-1], points[i]; p.Size <= before.Size || p.HitRatio < before.HitRatio {
			t.Errorf("the curve of LRU falls from %+v to %+v", before, p)
		}
	}
}

func TestTinyCachesAreReplayed(t *testing.T) {
	few := &Trace{Name: "few", Count: 3, Keys: slices.Repeat([]uint32{0, 1, 2, 0}, 50)} // keys hit often, so that they are promoted
	for _, tr := range []*Trace{zipf(t, 300), few} {
		if _, err := Run(t.Context(), tr, Options{Sizes: []int{1, 2, 3, 4, 9}}); err != nil {
			t.Errorf("%s: %v", tr.Name, err)
		}
	}
}

func TestNothingIsReplayed(t *testing.T) {
	r, err := Run(t.Context(), &Trace{Name: "empty"}, Options{})
	if err != nil || r.Requests != 0 || len(r.Curves) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestInterruptedReplaysKeepWhatIsDone: the end comes when the first policy is done.
func TestInterruptedReplaysKeepWhatIsDone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	tr := zipf(t, 3*checkEvery)
	policies, err := PoliciesNamed("otter,theine")
	if err != nil {
		t.Fatal(err)
	}
	r, err := Run(ctx, tr, Options{Policies: policies, Sizes: []int{100}, Progress: func(_, _ int64, policy string, _ int) {
		if policy == "theine" {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	if curveOf(r, "otter") == nil || curveOf(r, "theine") != nil {
		t.Errorf("curves: %+v", r.Curves)
	}
}

func TestLoadNumbersKeys(t *testing.T) {
	load := func(text string, limit int) (*Trace, error) {
		r, err := trace.NewReader(strings.NewReader(text), "x", trace.Options{Format: trace.Lines})
		if err != nil {
			return nil, err
		}
		return Load(t.Context(), "x", r, limit, nil)
	}
	tr, err := load("b\na\nb\nc\n", 0)
	if err != nil || !slices.Equal(tr.Keys, []uint32{0, 1, 0, 2}) || tr.Count != 3 {
		t.Errorf("%+v, %v", tr, err)
	}
	tr, err = load("b\na\nb\nc\n", 3)
	if err != nil || len(tr.Keys) != 3 || tr.Count != 2 {
		t.Errorf("%+v, %v", tr, err)
	}
	r, err := trace.NewReader(strings.NewReader("1 2\nx"), "x", trace.Options{Format: trace.ARC})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Load(t.Context(), "x", r, 0, nil); !errors.Is(err, trace.ErrMalformed) {
		t.Errorf("got %v, want %v", err, trace.ErrMalformed)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := Load(ended, "x", endless{}, 0, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

// TestLoadRefusesTooMany: what is within the limit is wanted, and no more is read than that.
func TestLoadRefusesTooMany(t *testing.T) {
	if tr, err := load(t.Context(), "x", endless{}, 5, 5, nil); err != nil || len(tr.Keys) != 5 {
		t.Errorf("%+v, %v", tr, err)
	}
	if _, err := load(t.Context(), "x", endless{}, 6, 5, nil); !errors.Is(err, ErrTooLong) {
		t.Errorf("got %v, want %v", err, ErrTooLong)
	}
	if most := uint64(maxRequests); most != uint64(math.MaxInt32) {
		t.Errorf("%d requests have positions, and int32 has %d", most, math.MaxInt32)
	}
}

type endless struct{}

func (endless) Next() (uint64, error) { return 1, nil }
func (endless) Close() error          { return io.ErrClosedPipe }

func TestPoliciesAreNamed(t *testing.T) {
	p, err := PoliciesNamed(" lru, Ristretto-Paced,otter,LRU,doppio/otter")
	if err != nil || len(p) != 4 || p[0].Name != "LRU" || p[1].Name != "ristretto, paced" || p[3].Name != "doppio/otter" {
		t.Errorf("%v, %v", p, err)
	}
	if p, err := PoliciesNamed(""); err != nil || len(p) != len(Policies()) {
		t.Errorf("%v, %v", p, err)
	}
	_, err = PoliciesNamed("fifo")
	if err == nil || !strings.Contains(err.Error(), "fifo") {
		t.Fatalf("got %v", err)
	}
	all, err2 := PoliciesNamed(strings.Join(ListedNames(), ","))
	if err2 != nil || len(all) != len(Policies()) {
		t.Errorf("all by their names: %v, %v", all, err2)
	}
	for _, name := range ListedNames() { // none is forgotten
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%v does not offer %s", err, name)
		}
	}
}

func TestDefaultSizes(t *testing.T) {
	if got, want := DefaultSizes(100_000), []int{1000, 1700, 3100, 5300, 9400, 16000, 29000, 50000}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := DefaultSizes(20_000)[0]; got != 200 {
		t.Errorf("the sizes for 20,000 keys begin at %d, want 200", got)
	}
	if got := DefaultSizes(5_000_000)[0]; got != leastDefault {
		t.Errorf("the sizes for 5 million keys begin at %d, want %d", got, leastDefault)
	}
	for _, keys := range []int{0, 1, 2, 10} {
		if sizes := DefaultSizes(keys); len(sizes) == 0 || sizes[0] != 1 || !slices.IsSorted(sizes) {
			t.Errorf("%d keys: %v", keys, sizes)
		}
	}
}

func TestOversize(t *testing.T) {
	for _, c := range []struct {
		held float64
		want bool
	}{{0, false}, {40, false}, {50, false}, {52.5, false}, {53, true}, {173, true}} {
		if got := Oversize(result.Point{Size: 50, Held: c.held}); got != c.want {
			t.Errorf("%.1f held of 50: %v, want %v", c.held, got, c.want)
		}
	}
}
