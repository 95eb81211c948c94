package fleet

import (
	"time"
)

// paths are where an instance finds what its parent opened for it, and where it is to write.
type paths struct {
	Source string // of the source's socket
	Shared string // of the shared memory
	Log    string // to write
	Name   string // of the instance, in the log
}

// instanceConfig is what an instance needs to know.
type instanceConfig struct {
	Index     int    // its row in the shared memory
	Seed      uint64 // of its own
	Workers   int
	Writer    bool   // it changes keys from outside, at a rate of its own
	Listens   bool   // it measures the lag of invalidations
	First     int    // the number of its first worker among all that write
	Writers   int    // how many there are
	Dealt     string // the file of requests that are dealt to so many Instances; empty: workers choose
	Instances int

	Keys      int
	Skew      float64
	ReadShare float64
	Write     Change
	ValueSize int
	Rate      float64 // of this instance's requests, or of the writer's changes

	RedisURL     string
	Routes       map[string]string // through ways
	Namespace    string
	Engine       string
	LocalEntries int64
	TTL          time.Duration
	LocalTTL     time.Duration
	Fresh        bool
	MaxStaleness time.Duration

	Paths paths
}

// instanceResult is what an instance measured. What a process that is killed knew of it is lost; what it counted is in the
// shared memory.
type instanceResult struct {
	Latency map[string][]byte // encoded histograms
	Lag     []byte
	Samples []string // of errors
}
