package inspect

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/invalidation"
)

// What an event can be.
const (
	Subscribed = "subscribed" // from here on nothing is missed without a gap being shown
	Message    = "message"
	Gap        = "gap"  // the message does not follow the one that was seen before it
	Lost       = "lost" // the subscription
	Unreadable = "unreadable"
)

// Event is one thing that was seen on a lane.
type Event struct {
	At   time.Time `json:"at"` // of arrival
	What string    `json:"what"`
	Lane int       `json:"lane"`
	Why  string    `json:"why,omitempty"`

	// Of a message. One without a place in the lane has no id: nobody misses it who misses it.
	ID        string     `json:"id,omitempty"`
	IDAt      *time.Time `json:"idAt,omitempty"` // when Redis took it
	Previous  string     `json:"previous,omitempty"`
	Type      string     `json:"type,omitempty"`
	Count     int        `json:"count,omitempty"`
	Hashes    []string   `json:"hashes,omitempty"`
	Publisher string     `json:"publisher,omitempty"`
	TraceID   string     `json:"traceId,omitempty"`
	LagMs     *float64   `json:"lagMs,omitempty"` // from IDAt to arrival, both by Redis's clock, to the millisecond
	Replayed  bool       `json:"replayed,omitempty"`

	// Of a gap: what lies after Seen up to Previous did not come.
	Seen   string `json:"seen,omitempty"`
	Missed *int64 `json:"missed,omitempty"` // as far as the lane still has it; at most maxMissed are counted
}

const (
	shownHashes = 4  // in a line of text
	traceIDSize = 16 // of the trace context
	maxMissed   = 10_000
)

var typeNames = map[invalidation.MessageType]string{
	invalidation.TypeKeys: "keys", invalidation.TypeCaches: "scope", invalidation.TypeAll: "all", invalidation.TypeFilled: "filled", invalidation.TypeCleared: "cleared",
}

// messageEvent describes a message that arrived at a time, by a clock that is behind Redis's by skew.
func messageEvent(index int, m invalidation.Message, at time.Time, skew time.Duration, replayed bool) Event {
	e := Event{
		At: at, What: Message, Lane: index, Type: typeNames[m.Type], Count: len(m.Hashes), Publisher: fmt.Sprintf("%016x", m.Publisher), Replayed: replayed,
	}
	for _, h := range m.Hashes {
		e.Hashes = append(e.Hashes, fmt.Sprintf("%016x", h))
	}
	if len(m.Trace) >= traceIDSize {
		e.TraceID = hex.EncodeToString(m.Trace[:traceIDSize])
	}
	if m.ID == 0 {
		return e
	}
	id := lane.ID(m.ID)
	idAt := time.UnixMilli(id.UnixMilli()).UTC()
	e.ID, e.Previous, e.IDAt = id.String(), lane.ID(m.Previous).String(), &idAt
	if !replayed {
		lag := float64(at.Add(skew).Sub(idAt).Microseconds()) / 1000
		e.LagMs = &lag
	}
	return e
}

// fromStream decodes a message as a lane keeps it: without its places.
func fromStream(data []byte, previous, id lane.ID) (invalidation.Message, error) {
	const head = 2
	if len(data) < head {
		return invalidation.Message{}, fmt.Errorf("%w: %d bytes", invalidation.ErrMalformed, len(data))
	}
	whole := make([]byte, 0, len(data)+2*lane.WireSize)
	whole = append(whole, data[:head]...)
	whole = previous.AppendWire(whole)
	whole = id.AppendWire(whole)
	return invalidation.Parse(append(whole, data[head:]...))
}

// place reads where in its lane a message is that cannot be read otherwise; 0 if not even that.
func place(data []byte) (previous, id lane.ID) {
	const first = 2
	if len(data) < first+2*lane.WireSize || binary.BigEndian.Uint16(data)>>8 != 0xC1 {
		return 0, 0
	}
	previous, err := lane.FromWire(data[first:])
	if err != nil {
		return 0, 0
	}
	if id, err = lane.FromWire(data[first+lane.WireSize:]); err != nil {
		return 0, 0
	}
	return previous, id
}

// Text is the event in one line for people.
func (e *Event) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  lane %d  ", e.At.Local().Format("15:04:05.000"), e.Lane)
	switch e.What {
	case Message:
		id := e.ID
		if id == "" {
			id = "(no place)"
		}
		fmt.Fprintf(&b, "%-16s  %-7s", id, e.Type)
		if e.Type != typeNames[invalidation.TypeAll] {
			fmt.Fprintf(&b, "  %d: %s", e.Count, strings.Join(e.Hashes[:min(shownHashes, len(e.Hashes))], " "))
		}
		if e.Count > shownHashes {
			b.WriteString(" …")
		}
		fmt.Fprintf(&b, "  by %s", e.Publisher)
		if e.TraceID != "" {
			fmt.Fprintf(&b, "  trace %s", e.TraceID)
		}
		if e.Replayed {
			b.WriteString("  replayed")
		} else if e.LagMs != nil {
			fmt.Fprintf(&b, "  lag %.1f ms", *e.LagMs)
		}
	case Gap:
		fmt.Fprintf(&b, "GAP: after %s came what follows %s", e.Seen, e.Previous)
		if e.Why != "" {
			b.WriteString("; " + e.Why)
		}
		if e.Missed != nil {
			fmt.Fprintf(&b, "; %d missed are still in the lane", *e.Missed)
		}
	default:
		fmt.Fprintf(&b, "%s %s", strings.ToUpper(e.What), printable(e.Why))
	}
	return strings.TrimRight(b.String(), " ")
}

// Summary is what was seen in all.
type Summary struct {
	Messages  int64   `json:"messages"` // that were shown
	Gaps      int64   `json:"gaps"`
	Losses    int64   `json:"losses"` // of subscriptions
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"perSecond"`
}

// Text is the summary in one line for people.
func (s Summary) Text() string {
	return fmt.Sprintf("%d messages in %.1f s (%.1f a second), %d gaps, %d subscriptions lost", s.Messages, s.Seconds, s.PerSecond, s.Gaps, s.Losses)
}
