package model

import "math/bits"

// Bounds of the arrays. Configurations use fewer.
const (
	instances  = 2
	maxKeys    = 2
	tagPlace   = maxKeys // the tag's place in a table: key 0 carries the tag where a configuration has one
	maxFlights = 3
	maxChanges = 4
	maxIDs     = 16 // ids of the lane are 1 to 15; 0 is before all
	maxQueue   = 6
)

// Kinds of a remote record.
const (
	nothing = iota
	lease
	value
)

// record is what the remote tier holds for a key.
type record struct {
	kind  uint8
	token uint8 // 0: one that nobody knows
	ver   uint8 // of a value: which commit of the source it shows
	stamp uint8 // of a value: the lane's id that was known when its load began, or that its Set was given
	tag   uint8 // of a value: the version of the tag it carries
}

// server is all that Redis holds, which is what a FLUSHALL empties and a restart from an old
// snapshot brings back.
type server struct {
	remote  [maxKeys]record
	tag     uint8  // version of the tag; 0: none was made
	floor   uint8  // remote floor: records with a lower stamp count as absent
	lane    uint16 // the set of ids in the stream
	trimmed bool   // the stream has reached its MAXLEN and lost its beginning
}

// last is the newest id in the lane, 0 if it is empty.
func (s *server) last() uint8 { return newest(s.lane) }

// newest is the highest id in a set.
func newest(set uint16) uint8 {
	if set == 0 {
		return 0
	}
	return uint8(bits.Len16(set) - 1)
}

// Kinds of an item on a subscription.
const (
	noItem = iota
	message
	echo
)

// item is what waits on a subscription: a message with its place in the lane, or the instance's own
// echo.
type item struct {
	kind  uint8
	prev  uint8 // of a message; of an echo: the lane's last id
	id    uint8 // of a message; of an echo: when it was sent (see state.gen)
	floor uint8 // of an echo: the newest remote floor
}

// localCopy is an entry of the local tier.
type localCopy struct {
	here       bool
	ver, stamp uint8
}

// Links of an instance with its lane.
const (
	live    = iota
	cut     // no subscription: what is published is lost
	syncing // subscribed again; the replay is under way
)

// Answers to the XRANGE of a SYNC.
const (
	unasked   = iota
	complete  // the id applied last is there: what follows it is all that was missed
	trimmed   // it is not there any more
	forgotten // the lane knows less than was applied: its history was lost
)

// instance is what one process knows.
type instance struct {
	pos   uint8 // positions given so far
	table [maxKeys + 1]uint8
	local [maxKeys]localCopy
	seen  [maxKeys]uint8 // what its own calls that returned have committed: no later read may show less (G3)

	applied uint8  // w: the lane has been applied up to here without a gap
	known   uint8  // the highest id it has heard of
	floor   uint8  // the highest remote floor it has heard of, of the lane's present history
	star    uint8  // the same, of any history
	parted  uint8  // stands for the remote floor from when a loss was noticed until the floor is known
	own     uint16 // the set of ids above applied that it was itself given by an acknowledged change
	trust   uint8  // coherence lease: the generation of the echo that renewed it last

	link      uint8
	queue     [maxQueue]item
	ping      uint8 // echo: 0 none, 1 sent, 2 on its way back
	sentAt    uint8 // generation in which it was sent
	asked     uint8 // the highest id that was known when it was sent
	askedStar uint8 // and the highest remote floor

	answer      uint8 // of XRANGE, when it was executed and is yet to be applied
	answerLast  uint8
	answerEnded uint8 // the highest of its own ids that the lane should have had then, and had not
	answerIDs   uint16
	first       uint8 // while syncing: the first live message's prev, plus one
	heard       uint8 // and the last one's id
	torn        bool  // and whether there was a gap between them

	owesDrop  bool // the receiver is between two stores: the floor is still to be raised
	owesTrust uint8
	owesFlush bool  // the history was lost: the remote floor is still to be put where the histories part
	ended     uint8 // the highest id of the lost history that was known
	since     uint8 // the highest remote floor that was known of it

	reading   uint8 // a read in two looks: 0 none, 1 after the first
	readVer   uint8
	readLeast uint8
}

// Phases of a flight.
const (
	idle     = iota
	begun    // stamp taken
	compared // remote value found, its tag's version still to be compared
	loading  // to read the source
	loaded   // to fill
	landed   // to be kept locally and given to those who wait
)

// flight is one load, with all who joined it.
type flight struct {
	phase  uint8
	stamp  uint8 // position
	known  uint8 // lane id
	token  uint8 // what a fill compares; 0: it may not fill
	ver    uint8
	tag    uint8
	tagged bool  // the tag's version has been read
	least  uint8 // what its callers may expect at least
	born   uint8 // generation of time
	blind  bool  // it began without a lease that ran, so that it asks for the remote floor
	bypass bool  // the key was pending: neither tier is asked or filled
}

// Phases of a call that changes something.
const (
	waiting = iota
	committed
	running
	holding // acknowledged; the own copy is still to be kept
	acknowledged
	failed // it returned an error: nobody knows whether it was executed, or will be
)

// How far the server got with a change, or with the retry of one.
const (
	unsent = iota // or not yet arrived
	half          // Cluster: the first of two steps
	done
)

// call is a change under way.
type call struct {
	phase  uint8
	ver    [maxKeys]uint8 // the commits that it is about
	begun  uint8          // position
	known  uint8          // lane id known at its begin
	star   uint8          // and the remote floor
	tag    uint8          // version of the tag that a Set's record carries
	stamp  uint8          // position of the own copy, while holding
	id     uint8          // its place in the lane
	body   uint8
	fresh  bool  // a Set that was executed after the server had lost something
	buried bool  // Cluster: its record is still to be lifted above the floor where the histories part
	heard  bool  // its message has come back while it was running
	alone  bool  // Cluster: given up before the second step was sent
	retry  uint8 // unsent, half, done; only when failed
	over   bool  // the retry was acknowledged, or the message has come back
}

// budget is what may still go wrong.
type budget struct{ losses, cuts, flushes, trims, replies, saves, deletes uint8 }

// state is one state of the whole. It is comparable, and equal states are one.
type state struct {
	source [maxKeys]uint8 // commits so far
	acked  [maxKeys]uint8 // the newest commit whose invalidation was acknowledged to anyone
	server server
	saved  server // what a restart brings back
	ids    uint8  // ids given: a server's clock does not go back when its data does
	by     [maxIDs]uint8
	tags   uint8 // versions of the tag made so far

	gen       uint8 // time: 1 before X-D, 2 after
	late      bool  // X has come
	snap      [maxKeys]uint8
	must      [maxKeys]uint8 // what was acknowledged before X-D, once X has come (G2)
	kept      bool           // the snapshot was taken
	restarted bool           // what is assumed of Redis does not hold any more
	lost      bool           // the server has lost something: by a restart, a FLUSHALL, or the end of the lane
	lostAt    uint8          // where the clock goes back: the newest id there was then
	left      budget
	inst      [instances]instance
	flights   [maxFlights]flight
	calls     [maxChanges]call
}
