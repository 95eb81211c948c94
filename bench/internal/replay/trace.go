package replay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/doppio-cache/doppio/bench/internal/trace"
)

// Trace is a trace held in memory: its keys are numbered in the order of their first request, so that a request takes
// four bytes and policies need no hash tables of their own.
type Trace struct {
	Name   string
	Format trace.Format
	Keys   []uint32 // of each request
	Count  int      // of distinct keys: they are 0 … Count−1

	names []string
	next  []uint32
}

// maxRequests keeps positions and their sums in 32 bits with a sign.
const maxRequests = math.MaxInt32

const checkEvery = 1 << 12 // requests between two looks at the context

// ErrTooLong marks a trace with more requests than can be replayed.
var ErrTooLong = errors.New("too many requests")

// Load reads at most limit requests of a source; 0 means all. progress, if not nil, is told how many were read.
func Load(ctx context.Context, name string, src trace.Source, limit int, progress func(read int)) (*Trace, error) {
	return load(ctx, name, src, limit, maxRequests, progress)
}

// load refuses a source with more than most requests that are wanted.
func load(ctx context.Context, name string, src trace.Source, limit, most int, progress func(read int)) (*Trace, error) {
	t := &Trace{Name: name}
	numbers := make(map[uint64]uint32)
	for limit == 0 || len(t.Keys) < limit {
		if len(t.Keys)%checkEvery == 0 {
			if err := context.Cause(ctx); err != nil {
				return nil, err
			}
			if progress != nil {
				progress(len(t.Keys))
			}
		}
		key, err := src.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if len(t.Keys) == most {
			return nil, fmt.Errorf("replay: %s: %w: over %d: use a limit", name, ErrTooLong, most)
		}
		number, known := numbers[key]
		if !known {
			number = uint32(len(numbers))
			numbers[key] = number
		}
		t.Keys = append(t.Keys, number)
	}
	t.Count = len(numbers)
	return t, nil
}

// prepare makes what policies share: names for those caches whose keys are strings, and next uses for the optimum.
func (t *Trace) prepare() {
	if t.names != nil || len(t.Keys) == 0 {
		return
	}
	t.names = make([]string, t.Count)
	for i := range t.names {
		t.names[i] = "key:" + strconv.Itoa(i)
	}
	t.next = nextUses(t.Keys, t.Count)
}
