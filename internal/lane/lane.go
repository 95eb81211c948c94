// Package lane names the parts of a lane in Redis, and reads and writes its ids.
//
// A lane is one Redis stream: at once the sequence of a fleet's invalidations, whose ids never go back and owe nothing to
// a client's clock, the log from which missed ones are replayed, and the link between the messages of pub/sub, each of
// which carries the id of the message before it. All keys and channels of a lane share a hash tag, {namespace:index}, so
// that one script may touch them all on a Cluster, too.
package lane

import (
	_ "embed"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// MaxLen is about how many invalidations a lane keeps for replay (XADD MAXLEN ~): some 2 MB.
const MaxLen = 65_536

//go:embed sound.lua
var soundScript string

//go:embed lane.lua
var laneScript string

// Script is the Lua that appends to a lane. Scripts put it before their own.
var Script = soundScript + laneScript

// Names are the keys and channels of one lane.
type Names struct {
	Stream  string // the stream itself
	Floors  string // a hash: the id below which remote records are invalid, by cache name, "*" for all caches, "!" for the newest of all
	Count   string // how many lanes the namespace has, so that an instance that disagrees is found out
	Channel string // where messages are published
	Probe   string // what an instance writes for a moment to find out in which database it is, where its client does not tell
	echo    string
}

// Of gives the names of a namespace's lane. No entry's key can be one of them: a namespace holds no brace.
func Of(namespace string, index int) Names {
	tag := "{" + namespace + ":" + strconv.Itoa(index) + "}:"
	return Names{
		Stream: tag + "lane", Floors: tag + "floors", Count: tag + "lanes", Probe: tag + "probe",
		Channel: tag + "invalidations", echo: tag + "echo:",
	}
}

// In gives the names for one of the numbered databases of a server: keys are apart by themselves, channels are not.
func (n Names) In(db int) Names {
	if db > 0 {
		at := "@" + strconv.Itoa(db)
		n.Channel += at
		n.echo = strings.TrimSuffix(n.echo, ":") + at + ":"
	}
	return n
}

// Echo is the channel on which one instance hears itself.
func (n Names) Echo(instance uint64) string { return n.echo + strconv.FormatUint(instance, 16) }

// Echoes is a glob that matches the echo channels of all instances.
func (n Names) Echoes() string { return n.echo + "*" }

// Index gives the lane that carries what concerns a hash, of count lanes. The low bits pick the bucket of the validity
// table, and its fingerprints are the high ones; lanes take what is left of both.
func Index(hash uint64, count int) int {
	if count <= 1 {
		return 0
	}
	return int((hash >> 24) % uint64(count))
}

// ID is a stream id in one number, ms<<20|seq, in the order of the stream. A seq of more than 20 bits is carried into ms.
// 0 stands for the beginning, before all ids.
type ID uint64

const (
	seqBits = 20
	maxSeq  = 1<<seqBits - 1
	maxMS   = 1<<(64-seqBits) - 1

	// WireSize is the size of an id in a message.
	WireSize = 12
)

// pack carries what is beyond the 20 bits of seq into ms, as lane.lua does: ids rise by seq alone while the server's clock
// is behind one of them.
func pack(ms, seq uint64) (ID, error) {
	carry := seq >> seqBits
	if ms > maxMS || carry > maxMS-ms {
		return 0, fmt.Errorf("lane: id %d-%d is beyond what a stream gives within %d years", ms, seq, 500)
	}
	return ID((ms+carry)<<seqBits | seq&maxSeq), nil
}

// maxText is how long an id is at most where Redis has written it: two numbers of 64 bits.
const maxText = 20 + 1 + 20

// Parse reads an id as Redis writes it, ms-seq.
func Parse(s string) (ID, error) {
	if len(s) > maxText {
		return 0, fmt.Errorf("lane: %d bytes are not an id of a stream", len(s)) // errors must not repeat all of them
	}
	left, right, ok := strings.Cut(s, "-")
	ms, err1 := strconv.ParseUint(left, 10, 64)
	seq, err2 := strconv.ParseUint(right, 10, 64)
	if !ok || err1 != nil || err2 != nil {
		return 0, fmt.Errorf("lane: %q is not an id of a stream", s)
	}
	return pack(ms, seq)
}

// String gives the id as Redis writes it.
func (id ID) String() string {
	return strconv.FormatUint(uint64(id)>>seqBits, 10) + "-" + strconv.FormatUint(uint64(id)&maxSeq, 10)
}

// UnixMilli is the server's time when the id was made, in Unix ms; it is ahead if the server's clock went back since.
func (id ID) UnixMilli() int64 { return int64(uint64(id) >> seqBits) }

// AppendWire appends the id as messages carry it: ms (8 bytes), seq (4), big-endian.
func (id ID) AppendWire(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(id)>>seqBits)
	return binary.BigEndian.AppendUint32(dst, uint32(uint64(id)&maxSeq))
}

// FromWire reads an id of WireSize bytes.
func FromWire(b []byte) (ID, error) {
	if len(b) < WireSize {
		return 0, fmt.Errorf("lane: id of %d bytes", len(b))
	}
	return pack(binary.BigEndian.Uint64(b), uint64(binary.BigEndian.Uint32(b[8:])))
}
