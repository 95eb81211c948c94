package tiered

import (
	"context"
	"time"

	"github.com/doppio-cache/doppio/invalidation"
	"github.com/doppio-cache/doppio/remote"
)

// parting is a loss of a lane's history, for which Redis is yet to say where the new history
// begins, and to put the floor of all caches there. It keeps no reads from the remote tier: this
// instance takes the records that the lost history left for absent.
type parting struct {
	ended    uint64 // the newest id that was known of the lost history
	allFloor uint64 // the newest floor of all caches that was known when the loss was noticed
	since    time.Time
	round    uint64 // how many losses it stands for
}

// part notes that a lane has lost its history.
func (p *pending) part(lane int, ended, allFloor uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	it := p.parts[lane]
	if it == nil {
		it = &parting{since: time.Now()}
		p.parts[lane] = it
	}
	it.round++
	it.ended, it.allFloor = max(it.ended, ended), allFloor // of two losses, the floor lies where the second history begins
	p.count()
	p.nudge()
}

// retryParts asks Redis where the new histories of lanes begin, and reports whether it has said so for all.
func (p *pending) retryParts(ctx context.Context) bool {
	p.mu.Lock()
	todo := make(map[int]parting, len(p.parts))
	for lane, it := range p.parts {
		todo[lane] = *it
	}
	p.mu.Unlock()
	well := true
	for lane, it := range todo {
		told := &remote.Announcement{Lane: lane, Message: encodeMessage(invalidation.Message{
			Type: invalidation.TypeKeys, Publisher: p.co.own.id(0), Previous: it.ended, ID: it.allFloor,
		})}
		if err := p.co.far.Part(remote.Background(ctx), it.ended, told); err != nil {
			p.log.Debug("doppio: a lane that lost its history has no floor yet", "lane", lane, "error", err)
			well = false
			continue
		}
		p.co.partedAt(lane, it.ended, told.ID)
		p.mu.Lock()
		if p.parts[lane].round == it.round {
			p.delivered.Add(1)
			delete(p.parts, lane)
			p.count()
		}
		p.answeredLocked()
		p.mu.Unlock()
	}
	return well
}
