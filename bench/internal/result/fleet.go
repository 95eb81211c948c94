package result

// Fleet is what a fleet of processes over one Redis did: one run, or one for each step of a curve.
type Fleet struct {
	Runs          []FleetRun     `json:"runs"`
	Extrapolation *Extrapolation `json:"extrapolation,omitempty"`
}

// FleetRun is one run.
type FleetRun struct {
	Series string      `json:"series"` // which curve it is a step of: "single", "instances" or "invalidations"
	Config FleetConfig `json:"config"`

	Seconds    float64 `json:"seconds"`
	Requests   int64   `json:"requests"`
	Reads      int64   `json:"reads"`
	Writes     int64   `json:"writes"`
	Throughput float64 `json:"throughput"` // requests a second, of all instances
	Loads      int64   `json:"loads"`      // that reached the source
	Errors     int64   `json:"errors"`
	// Errors by kind, as classified by the library's sentinels. They add up to Errors.
	ErrorKinds map[string]int64 `json:"errorKinds,omitempty"`

	// Latency, in microseconds, by what answered: "local", "remote", "load", "write".
	Latency map[string]Percentiles `json:"latency"`
	// Staleness of reads.
	Staleness Staleness `json:"staleness"`
	// Lag, in milliseconds, from the acknowledgement of an invalidation to its being applied by another instance.
	Lag Percentiles `json:"lag"`

	Redis Redis `json:"redis"`
	// CPU of one instance, on average, as a share of one core.
	InstanceCPU float64 `json:"instanceCPU"`
	// Drops of the local tier, by reason, other than that for which each instance begins with an empty one; Invalidations applied by all instances; Restarts of instances (churn).
	Drops         map[string]uint64 `json:"drops,omitempty"`
	Invalidations uint64            `json:"invalidations"`
	Restarts      int64             `json:"restarts"`
	// Spoilt are the values that were another key's, or spoilt, warm-up included: there must be none.
	Spoilt int64 `json:"spoilt,omitempty"`
	// Outside are the acknowledged changes from outside the workers.
	Outside int64 `json:"outside,omitempty"`
	// Due is how many requests were to begin at the rate that was asked for; Requests of them did. 0 without a rate.
	Due int64 `json:"due,omitempty"`
	// Unrecovered is after how many faults the fleet was not coherent again in time.
	Unrecovered int64 `json:"unrecovered,omitempty"`
	// ServerBytesOut is what all servers sent in a second, which tells more than Redis.BytesOut where nobody asks.
	ServerBytesOut float64 `json:"serverBytesOut,omitempty"`
	// MachineCPU is the share of all cores of the machine that were busy, with whatever; near 1 every latency is one of
	// waiting for a core.
	MachineCPU float64 `json:"machineCPU,omitempty"`
}

// BusyMachine is the share of a machine from which processes wait for each other.
const BusyMachine = 0.85

// Busy reports whether the machine was so busy that latencies and lag are those of waiting for a core.
func (r *FleetRun) Busy() bool { return r.MachineCPU > BusyMachine }

// FleetConfig is what was asked for.
type FleetConfig struct {
	Instances      int     `json:"instances"`
	Workers        int     `json:"workers"` // of each instance
	Keys           int     `json:"keys"`
	Skew           float64 `json:"skew"` // exponent of the Zipf distribution; 0: uniform
	ReadShare      float64 `json:"readShare"`
	ValueSize      int     `json:"valueSize"` // bytes
	TTLms          float64 `json:"ttlMs"`
	LocalTTLms     float64 `json:"localTtlMs,omitempty"` // of local entries; 0: as TTLms
	Fresh          bool    `json:"fresh,omitempty"`      // each read was of a key that nobody had asked for before
	LocalEntries   int64   `json:"localEntries"`
	Rate           float64 `json:"rate"`             // requests a second of all instances; 0: as fast as it goes
	Invalidations  float64 `json:"invalidations"`    // a second, from outside the workers
	ChurnSeconds   float64 `json:"churnSeconds"`     // an instance is replaced this often; 0: never
	Fault          string  `json:"fault,omitempty"`  // what goes wrong meanwhile
	MaxStalenessMs float64 `json:"maxStalenessMs"`   // the bound
	SourceMs       float64 `json:"sourceMs"`         // of one load
	Topology       string  `json:"topology"`         // "embedded", "given", "standalone", "cluster"
	Engine         string  `json:"engine"`           // of the local tier
	Server         string  `json:"server,omitempty"` // "Redis 7.0.15"
}

// Staleness is how many reads missed an acknowledged change, and by how much they trailed it.
type Staleness struct {
	Reads   int64       `json:"reads"`  // judged
	Stale   int64       `json:"stale"`  // of them
	Own     int64       `json:"own"`    // stale, and missed a change of their own instance: must be none
	Beyond  int64       `json:"beyond"` // stale by more than the bound: must be none
	BoundMs float64     `json:"boundMs"`
	Age     Percentiles `json:"age"` // of stale reads, milliseconds
}

// Redis is what the servers did for the fleet, all together.
type Redis struct {
	Servers     int                `json:"servers"`
	Commands    float64            `json:"commands"`    // that the fleet sent, for each 1,000 requests; what scripts call is not sent
	ByCommand   map[string]float64 `json:"byCommand"`   // the same, by command, what scripts call included
	BytesIn     float64            `json:"bytesIn"`     // for each 1,000 requests
	BytesOut    float64            `json:"bytesOut"`    // for each 1,000 requests
	CPUms       float64            `json:"cpuMs"`       // for each 1,000 requests
	CPUShare    float64            `json:"cpuShare"`    // of one core, of the busiest server
	MemoryBytes float64            `json:"memoryBytes"` // used at the end
	HasCPU      bool               `json:"hasCPU"`      // an embedded server cannot tell its CPU
	HasCommands bool               `json:"hasCommands"` // nor its ByCommand and bytes
}

// Extrapolation says what a larger fleet would ask of one Redis.
type Extrapolation struct {
	Instances   int                 `json:"instances"`
	Formula     string              `json:"formula"`
	Parameters  map[string]float64  `json:"parameters"`           // measured, by the formula's names
	GiveOrTake  map[string]float64  `json:"giveOrTake,omitempty"` // how far rounds of the measurement were from them
	Assumptions []string            `json:"assumptions"`
	Points      []ExtrapolatedPoint `json:"points"`
}

// ExtrapolatedPoint is one size of fleet.
type ExtrapolatedPoint struct {
	Instances int      `json:"instances"`
	Measured  *float64 `json:"measured,omitempty"` // share of a core of the server, where it was measured
	ServerCPU float64  `json:"serverCPU"`          // share of a core, by the formula
	CPUOff    float64  `json:"cpuOff,omitempty"`   // by how much that is off if each cost is as far off as rounds differed
	BytesOut  float64  `json:"bytesOut"`           // a second, by the formula
	Messages  float64  `json:"messages"`           // deliveries a second, by the formula
}

// Chaos is what a fleet did while things went wrong, one fault at a time.
type Chaos struct {
	Runs []ChaosRun `json:"runs"`
}

// ChaosRun is one fault.
type ChaosRun struct {
	Fault    string      `json:"fault"`
	About    string      `json:"about"`
	Times    int         `json:"times"`    // it was injected
	Run      FleetRun    `json:"run"`      // the whole of it, calm included
	Recovery Percentiles `json:"recovery"` // milliseconds from the fault's end until every instance was coherent again
	Verdict  string      `json:"verdict"`  // [VerdictOK], [VerdictInterrupted], or what was violated
}

// Verdicts that are no violation.
const (
	VerdictOK          = "ok"
	VerdictInterrupted = "interrupted" // before it had suffered all that it was to suffer; until then nothing was violated
)

// Violated tells whether the run broke a promise. One that was interrupted has kept none, either.
func (r *ChaosRun) Violated() bool { return r.Verdict != VerdictOK && r.Verdict != VerdictInterrupted }
