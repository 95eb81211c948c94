package invalidation

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/doppio-cache/doppio/internal/lane"
)

const (
	pageSize = 1000
	// maxReplay is how many messages are replayed. Trimming leaves somewhat more than lane.MaxLen
	// messages; if there are many more, the replay is slower than the writers and does not end.
	maxReplay = lane.MaxLen + 10*pageSize
)

var errReplaySilent = errors.New("replay: the server does not answer")

// replayPage is a part of a lane.
type replayPage struct {
	newest     lane.ID    // the newest id of the lane
	why        DropReason // the reason, if nothing can be replayed
	historyEnd lane.ID    // of DropHistoryLost: the newest id of the lost history that is known
	entries    []replayEntry
}

type replayEntry struct {
	id   lane.ID
	data string
}

// replay fetches the messages between the last one that was delivered and the first one of the
// subscription. If it cannot, every local copy is dropped.
func (r *Receiver) replay(ctx context.Context, s *subscription) {
	r.mu.Lock()
	minID := r.minID()
	r.mu.Unlock()
	for replayed := 0; ; {
		r.mu.Lock()
		from, hasPosition := r.seq.applied, r.seq.hasPosition
		r.mu.Unlock()
		bound := max(r.opts.MaxStaleness, minSetup)
		// go-redis may not return.
		stop := startTimer(bound, func() {
			if ctx.Err() == nil {
				_ = r.end(s, errReplaySilent)
			}
		})
		var p replayPage
		err := callGuarded(r.opts.Panics, func() (err error) {
			p, err = r.fetchPage(ctx, from, hasPosition)
			return err
		})
		stop()
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			_ = r.end(s, fmt.Errorf("replay: %w", err)) // it returns an earlier reason if there is one
			return
		}
		if replayed += len(p.entries); replayed > maxReplay {
			p.why = DropTrimmed
		}
		switch {
		case p.why == DropHistoryLost:
			p.historyEnd = from
			if p.newest < minID {
				p.historyEnd = max(from, minID)
			}
		case p.newest < minID, p.why == 0 && p.lacks(from, minID):
			p.why, p.historyEnd = DropHistoryLost, max(from, minID)
		}
		if r.onPage(s, from, p) {
			return
		}
	}
}

// lacks reports whether a page of the messages after from should hold an id and does not.
func (p replayPage) lacks(from, id lane.ID) bool {
	if id <= from || len(p.entries) == 0 || id > p.entries[len(p.entries)-1].id {
		return false
	}
	return !slices.ContainsFunc(p.entries, func(e replayEntry) bool { return e.id == id })
}

// fetchPage fetches the messages after from.
func (r *Receiver) fetchPage(ctx context.Context, from lane.ID, hasPosition bool) (replayPage, error) {
	start := ""
	if hasPosition {
		start = from.String()
	}
	reply, err := runScript(ctx, r.rdb, scriptReplay, []string{r.names.Stream}, start, pageSize)
	if err != nil {
		return replayPage{}, err
	}
	return parseReplayPage(reply, from)
}

func parseReplayPage(reply []any, from lane.ID) (replayPage, error) {
	head, err := stringList(reply[:min(len(reply), 2)], 1)
	if err != nil {
		return replayPage{}, err
	}
	var p replayPage
	if p.newest, err = lane.Parse(head[0]); err != nil {
		return replayPage{}, err
	}
	switch {
	case len(head) == 1:
		p.why = DropFirstSync
		return p, nil
	case head[1] == "trimmed":
		p.why = DropTrimmed
		return p, nil
	case head[1] == "lost":
		p.why = DropHistoryLost
		return p, nil
	case len(reply) < 3:
		return replayPage{}, errors.New("invalidation: a page of a lane is cut short")
	}
	parts, err := stringPairs(reply[2])
	if err != nil {
		return replayPage{}, err
	}
	for i := 0; i < len(parts); i += 2 {
		id, err := lane.Parse(parts[i])
		if err != nil {
			return replayPage{}, err
		}
		if id != from { // the page begins with from, which proves that the lane still has it
			p.entries = append(p.entries, replayEntry{id: id, data: parts[i+1]})
		}
	}
	return p, nil
}

// onPage delivers the messages of a page and reports whether it was the last one.
func (r *Receiver) onPage(s *subscription, from lane.ID, p replayPage) (complete bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.endedBy != nil {
		return true
	}
	at := from
	for _, e := range p.entries {
		m, err := parseStored([]byte(e.data), at, e.id)
		if err != nil {
			r.opts.Logger.Debug("doppio: unreadable invalidation", "lane", r.opts.Lane, "error", err)
			r.dropAll(DropUnreadable)
		} else {
			r.deliver(m)
		}
		at = e.id
	}
	switch {
	case p.why != 0:
		at = p.newest
	case !r.seq.onReplayed(at, p.newest) && len(p.entries) > 0:
		r.publishApplied()
		return false
	}
	r.onReplayed(s, at, p)
	return true
}

// onReplayed ends the replay: every message up to id was delivered, or is dropped for a reason.
func (r *Receiver) onReplayed(s *subscription, id lane.ID, p replayPage) {
	why := p.why
	if broken := r.seq.endSync(id, p.historyEnd); broken == DropHistoryLost || why == 0 {
		why = broken
	}
	if why != 0 {
		r.dropAll(why)
	}
	r.publishApplied()
	s.firstProbe = r.probes.newest + 1
	r.probeNow()
}
