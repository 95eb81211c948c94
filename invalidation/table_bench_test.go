package invalidation

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/doppio-cache/doppio/internal/keyhash"
)

// plainTable is the simplest that could stand in the Table's place, in half its memory: one
// position for each slot.
type plainTable [1 << 16]uint64

func (p *plainTable) slot(hash uint64) *uint64 { return &p[hash&(1<<16-1)] }

// BenchmarkFalseInvalidations counts the reads that find their entry invalid though nobody changed
// its key. An instance holds 100,000 keys and reads each again every 10 s on average, at random; an
// entry that is found invalid is confirmed by the remote tier, and gets a new stamp. Meanwhile others
// change keys that it does not hold, of ten million, so that every invalidation that it meets is a
// false one. A local hit gives its entry a new stamp when that is 4,096 positions old. "plain" is a
// table of one position for each of 64 Ki slots; "kept" is this one if a hit left the stamp. Each
// iteration is 60 s of that time, all of it simulated:
//
//	go test -run '^$' -bench FalseInvalidations -benchtime 10x ./invalidation
func BenchmarkFalseInvalidations(b *testing.B) {
	for _, rate := range []float64{1_000, 10_000} {
		for _, zipf := range []bool{false, true} {
			keys := "uniform"
			if zipf {
				keys = "zipf"
			}
			b.Run(fmt.Sprintf("%.0f-per-s/%s", rate, keys), func(b *testing.B) { simulateFalse(b, rate, zipf) })
		}
	}
}

func simulateFalse(b *testing.B, changesPerSecond float64, zipf bool) {
	b.Helper()
	const (
		held, others   = 100_000, 10_000_000
		readsPerSecond = held / 10.0
		warmUp, minute = 120.0, 60.0
	)
	rng := rand.New(rand.NewPCG(1, 2))
	skewed := rand.NewZipf(rng, 1.01, 1, others-1)
	seed := keyhash.Seed("ns:users:")
	hashes, stamps, plainStamps, keptStamps := make([]uint64, held), make([]uint64, held), make([]uint64, held), make([]uint64, held)
	for i := range hashes {
		hashes[i] = keyhash.Sum(seed, fmt.Sprintf("user:%d", i))
	}
	changed := func() uint64 {
		if zipf {
			return skewed.Uint64()
		}
		return rng.Uint64N(others)
	}
	name := []byte("order:00000000")
	table, plain := NewTable(), new(plainTable)
	reads, wrong, plainWrong, keptWrong := 0, 0, 0, 0
	// Reads at random moments, independent of each other, are together a stream of such reads;
	// which key it is, and whether it is a read or a change, is chosen anew each time.
	perSecond := readsPerSecond + changesPerSecond
	measured := false
	for now, end := 0.0, warmUp+float64(b.N)*minute; now < end; now += rng.ExpFloat64() / perSecond {
		if !measured && now >= warmUp {
			measured, reads, wrong, plainWrong, keptWrong = true, 0, 0, 0, 0
			b.ResetTimer()
		}
		if rng.Float64()*perSecond < changesPerSecond {
			n := changed()
			for i := len(name) - 1; i >= len("order:"); i-- {
				name[i] = byte('0' + n%10)
				n /= 10
			}
			hash := keyhash.Sum(seed, string(name))
			*plain.slot(hash) = table.Raise(hash)
			continue
		}
		i := rng.IntN(held)
		reads++
		if !table.Valid(hashes[i], stamps[i]) {
			wrong++
			stamps[i] = table.Now()
		} else if settled := table.Recorded(); settled > stamps[i]+4096 { // as tiered's confirm does
			stamps[i] = settled
		}
		if *plain.slot(hashes[i]) > plainStamps[i] {
			plainWrong++
			plainStamps[i] = table.Now()
		}
		if !table.Valid(hashes[i], keptStamps[i]) {
			keptWrong++
			keptStamps[i] = table.Now()
		}
	}
	b.ReportMetric(1000*float64(wrong)/float64(reads), "false/1000reads")
	b.ReportMetric(1000*float64(plainWrong)/float64(reads), "plain-false/1000reads")
	b.ReportMetric(1000*float64(keptWrong)/float64(reads), "kept-false/1000reads")
}
