package local

import (
	"math"
	"math/bits"
	"reflect"
)

// These are the bytes of heap that an entry takes besides its key and value, after a collection:
// the Entry itself (136), the engine's tables and lists at their mean fill, and the rounding of key
// and value to the sizes of the allocator. TestMaxBytes_isMeasuredHeap measures them.
const (
	ristrettoPerEntry = 270
	otterPerEntry     = 250

	ristrettoFixed = 384 << 10 // its queue of 32 Ki pointers, its 256 shards, the write buffer
	otterFixed     = 64 << 10

	// bytesPerEntry is the assumed size of an entry, by which a bound in bytes determines the
	// sketch.
	bytesPerEntry = 512

	// maxCounters bounds the sketch to half a gigabyte.
	maxCounters = 1 << 27
)

// countersForBytes returns ristretto's NumCounters for a bound in bytes: a power of two, since
// ristretto rounds up to one, for which the sketch takes at most an eighth of the bound.
func countersForBytes(maxBytes int64) int64 {
	n := uint64(maxBytes) / bytesPerEntry * ristrettoCounters
	return max(1<<10, min(maxCounters, int64(1)<<(bits.Len64(n|1)-1)))
}

// ristrettoSketch returns the size of ristretto's sketch and bloom filter for a power of two of
// counters: four rows of half a byte, and 16 bits.
func ristrettoSketch(counters int64) int64 { return 4 * counters }

// chargeFunc returns the function that says how much of the engine's bound an entry takes.
func chargeFunc(opts Options) func(e *Entry) int64 {
	if opts.MaxBytes == 0 {
		return func(*Entry) int64 { return 1 }
	}
	perEntry := int64(ristrettoPerEntry)
	if opts.Engine == Otter {
		perEntry = otterPerEntry
	}
	return func(e *Entry) int64 {
		cost := e.Cost
		if cost <= 0 {
			cost = max(0, opts.Cost(e.Key(), e.Value))
		}
		if cost > math.MaxInt64-perEntry {
			return math.MaxInt64
		}
		return cost + perEntry
	}
}

// estimateCost is the default of Options.Cost.
func estimateCost(key string, value any) int64 {
	n := int64(len(key))
	switch v := value.(type) {
	case nil:
		return n
	case string:
		return n + 16 + int64(len(v))
	case []byte:
		return n + 24 + int64(cap(v))
	case *string:
		if v != nil {
			n += 16 + int64(len(*v))
		}
		return n
	case *[]byte:
		if v != nil {
			n += 24 + int64(cap(*v))
		}
		return n
	}
	v := reflect.ValueOf(value)
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	n += int64(v.Type().Size())
	switch v.Kind() {
	case reflect.String:
		n += int64(v.Len())
	case reflect.Slice:
		n += int64(v.Cap()) * int64(v.Type().Elem().Size())
	case reflect.Map:
		n += int64(v.Len()) * 2 * int64(v.Type().Key().Size()+v.Type().Elem().Size())
	}
	return n
}
