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
	// maxReplay is how many messages are replayed. Trimming leaves somewhat more than it must; with many more, whoever
	// replays is slower than those who write.
	maxReplay = lane.MaxLen + 10*pageSize
)

var errReplaySilent = errors.New("replay: the server does not answer")

// page is a part of a lane.
type page struct {
	last    lane.ID    // the lane's newest
	why     DropReason // why there is nothing to replay
	ended   lane.ID    // of DropHistoryLost: the newest id of the lost history that is known
	entries []entry
}

type entry struct {
	id   lane.ID
	data string
}

// catchUp closes the gap between what was known before and what comes over a subscription: it replays, or drops.
func (r *Receiver) catchUp(ctx context.Context, s *session) {
	r.mu.Lock()
	had := r.known() // the lane has it, or has lost it
	r.mu.Unlock()
	for replayed := 0; ; {
		r.mu.Lock()
		from, known := r.chain.w, r.chain.known
		r.mu.Unlock()
		bound := max(r.opts.MaxStaleness, minSetup)
		// go-redis may not return.
		stop := after(bound, func() {
			if ctx.Err() == nil {
				_ = r.end(s, errReplaySilent)
			}
		})
		var p page
		err := guarded(r.opts.Panics, func() (err error) {
			p, err = r.page(ctx, from, known)
			return err
		})
		stop()
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			_ = r.end(s, fmt.Errorf("replay: %w", err)) // it is the reason, unless there was one before
			return
		}
		if replayed += len(p.entries); replayed > maxReplay {
			p.why = DropTrimmed
		}
		switch {
		case p.why == DropHistoryLost:
			p.ended = from
			if p.last < had {
				p.ended = max(from, had)
			}
		case p.last < had, p.why == 0 && p.lacks(from, had):
			p.why, p.ended = DropHistoryLost, max(from, had)
		}
		if r.replayed(s, from, p) {
			return
		}
	}
}

// lacks reports whether a page of what follows from should hold an id, and does not.
func (p page) lacks(from, id lane.ID) bool {
	if id <= from || len(p.entries) == 0 || id > p.entries[len(p.entries)-1].id {
		return false
	}
	return !slices.ContainsFunc(p.entries, func(e entry) bool { return e.id == id })
}

// page fetches what follows from.
func (r *Receiver) page(ctx context.Context, from lane.ID, known bool) (page, error) {
	start := ""
	if known {
		start = from.String()
	}
	reply, err := scriptReplay.run(ctx, r.rdb, []string{r.names.Stream}, start, pageSize)
	if err != nil {
		return page{}, err
	}
	return parsePage(reply, from)
}

func parsePage(reply []any, from lane.ID) (page, error) {
	head, err := texts(reply[:min(len(reply), 2)], 1)
	if err != nil {
		return page{}, err
	}
	var p page
	if p.last, err = lane.Parse(head[0]); err != nil {
		return page{}, err
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
		return page{}, errors.New("invalidation: a page of a lane is cut short")
	}
	parts, err := pairs(reply[2])
	if err != nil {
		return page{}, err
	}
	for i := 0; i < len(parts); i += 2 {
		id, err := lane.Parse(parts[i])
		if err != nil {
			return page{}, err
		}
		if id != from { // which is there to show that it still is
			p.entries = append(p.entries, entry{id: id, data: parts[i+1]})
		}
	}
	return p, nil
}

// replayed hands a page on, and tells whether it was the last.
func (r *Receiver) replayed(s *session, from lane.ID, p page) (complete bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.lost != nil {
		return true
	}
	at := from
	for _, e := range p.entries {
		m, err := parseStored([]byte(e.data), at, e.id)
		if err != nil {
			r.opts.Logger.Debug("doppio: unreadable invalidation", "lane", r.opts.Lane, "error", err)
			r.drop(DropUnreadable)
		} else {
			r.handOn(m)
		}
		at = e.id
	}
	switch {
	case p.why != 0:
		at = p.last
	case !r.chain.replayed(at, p.last) && len(p.entries) > 0:
		r.advanced()
		return false
	}
	r.joined(s, at, p)
	return true
}

// joined ends the catching up: everything up to id was handed on, or is dropped for a reason.
func (r *Receiver) joined(s *session, id lane.ID, p page) {
	why := p.why
	if broke := r.chain.join(id, p.ended); broke == DropHistoryLost || why == 0 {
		why = broke
	}
	if why != 0 {
		r.drop(why)
	}
	r.advanced()
	s.counts = r.echoes.newest + 1
	r.hurry()
}
