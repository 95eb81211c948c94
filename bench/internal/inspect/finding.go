package inspect

import (
	"fmt"
	"time"
)

// Verdict says what an instance would make of what is there.
type Verdict string

// The verdicts.
const (
	Valid          Verdict = "valid"           // it is served, waited for, or believed
	Absent         Verdict = "absent"          // there is nothing
	WrongType      Verdict = "wrong type"      // something that is no string: written by somebody else
	Foreign        Verdict = "foreign"         // a string that is no record
	Malformed      Verdict = "malformed"       // a record that is cut short, changed, or another key's
	UnknownVersion Verdict = "unknown version" // a record of a later library
	Expired        Verdict = "expired"         // past its TTL; a value may still serve where a load fails
	Invalidated    Verdict = "invalidated"     // it is there, and what came since makes it void
)

// Finding is all that can be told of an entry.
type Finding struct {
	Key     string  `json:"key"` // in Redis
	Cache   string  `json:"cache"`
	Hash    string  `json:"hash"` // by which messages name it
	Verdict Verdict `json:"verdict"`
	Why     string  `json:"why,omitempty"`

	Type        string  `json:"type,omitempty"`        // Redis's, if it is no string
	Bytes       int     `json:"bytes,omitempty"`       // of what Redis holds
	MemoryBytes *int64  `json:"memoryBytes,omitempty"` // that Redis says it takes, where it may be asked
	Version     *int    `json:"version,omitempty"`     // of the record's form, where it begins like one
	PTTLms      *int64  `json:"pttlMs,omitempty"`      // until Redis removes it; absent: never
	Record      *Record `json:"record,omitempty"`
	Lane        Lane    `json:"lane"`

	Holders *Holders `json:"holders,omitempty"` // if they were asked for
}

// Found tells whether there is something that an instance would use.
func (f *Finding) Found() bool { return f.Verdict == Valid }

// Record is a record, decoded.
type Record struct {
	Kind    string    `json:"kind"`
	Token   string    `json:"token"` // its beginning: who holds the whole could end a lease
	Stamp   string    `json:"stamp"` // the newest announcement that it takes account of
	StampAt time.Time `json:"stampAt"`
	Created time.Time `json:"created"`
	AgeMs   int64     `json:"ageMs"`
	TTLms   int64     `json:"ttlMs"`   // 0: without end
	LeftMs  int64     `json:"leftMs"`  // of the TTL
	GraceMs int64     `json:"graceMs"` // past the TTL
	LoadMs  int64     `json:"loadMs"`
	Number  bool      `json:"number"`
	Tags    []Tag     `json:"tags,omitempty"`
	Lease   *Lease    `json:"lease,omitempty"`
	Payload *Payload  `json:"payload,omitempty"`
}

// Tag is a tag of a record.
type Tag struct {
	Name    string `json:"name"`
	Version string `json:"version"`       // that the record carries, its beginning
	Now     string `json:"now,omitempty"` // the tag's version; absent: it has none, it was invalidated
	Current bool   `json:"current"`
}

// Lease says who loads.
type Lease struct {
	Holder  string    `json:"holder"` // the beginning of its token
	Since   time.Time `json:"since"`
	LeftMs  int64     `json:"leftMs"`  // unless it is renewed
	Awaited bool      `json:"awaited"` // somebody waits for its end
}

// Payload is the value as it is stored.
type Payload struct {
	Bytes        int    `json:"bytes"`
	Codec        string `json:"codec"`
	Compression  string `json:"compression"`
	DecodedBytes uint64 `json:"decodedBytes,omitempty"` // that a compressed one says it has
	Encrypted    bool   `json:"encrypted"`
	KeyID        string `json:"keyId,omitempty"`
	Nil          bool   `json:"nil"`
	Fault        string `json:"fault,omitempty"` // why it cannot be decoded
	Value        string `json:"value,omitempty"` // only if it was asked for
	ValueCut     bool   `json:"valueCut,omitempty"`
	Note         string `json:"note,omitempty"` // why a value that was asked for is not shown
}

// Lane is the lane that carries what concerns the entry.
type Lane struct {
	Index       int        `json:"index"`
	Lanes       int        `json:"lanes"` // 0: no instance has noted how many there are
	Newest      string     `json:"newest,omitempty"`
	NewestAt    *time.Time `json:"newestAt,omitempty"`
	Length      int64      `json:"length"`
	Floor       string     `json:"floor,omitempty"` // below it records of the cache are void
	Subscribers *int64     `json:"subscribers,omitempty"`
	ShardedSub  bool       `json:"shardedSub"`
}

// short is the beginning of a token: enough to tell two apart, too little to use.
func short(token []byte) string { return fmt.Sprintf("%x…", token[:min(4, len(token))]) }
