package coherence

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
	ended      uint64 // the newest id that was known of the lost history
	allFloor   uint64 // the newest floor of all caches that was known when the loss was noticed
	since      time.Time
	generation uint64 // how many losses it stands for
}

// part notes that a lane has lost its history.
func (q *retryQueue) part(lane int, ended, allFloor uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	it := q.parts[lane]
	if it == nil {
		it = &parting{since: time.Now()}
		q.parts[lane] = it
	}
	it.generation++
	it.ended, it.allFloor = max(it.ended, ended), allFloor // of two losses, the floor lies where the second history begins
	q.countLocked()
	q.nudge()
}

// retryParts asks Redis where the new histories of lanes begin, and reports whether it has said so
// for all.
func (q *retryQueue) retryParts(ctx context.Context) bool {
	q.mu.Lock()
	todo := make(map[int]parting, len(q.parts))
	for lane, it := range q.parts {
		todo[lane] = *it
	}
	q.mu.Unlock()
	well := true
	for lane, it := range todo {
		a := &remote.Announcement{Lane: lane, Message: encode(invalidation.Message{
			Type: invalidation.TypeKeys, Publisher: q.m.own.id(0), Previous: it.ended, ID: it.allFloor,
		})}
		if err := q.m.remote.BeginHistory(remote.Background(ctx), it.ended, a); err != nil {
			q.m.opts.Logger.Debug("doppio: a lane that lost its history has no floor yet", "lane", lane, "error", err)
			well = false
			continue
		}
		q.m.partedAt(lane, it.ended, a.ID)
		q.mu.Lock()
		if q.parts[lane].generation == it.generation {
			q.delivered.Add(1)
			delete(q.parts, lane)
			q.countLocked()
		}
		q.succeedLocked()
		q.mu.Unlock()
	}
	return well
}
