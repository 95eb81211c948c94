package fleet

import (
	"context"
	"math/rand/v2"
	"time"
)

// pace says when requests are to begin. In an open loop they come at random (exponential gaps), whether the last one was
// answered or not, as a website's visitors do; in a closed one the next comes when the last was answered.
type pace struct {
	rate   float64 // a second; 0: closed
	random *rand.Rand
	next   time.Time
	timer  *time.Timer
}

func newPace(rate float64, random *rand.Rand) *pace {
	p := &pace{rate: rate, random: random, next: time.Now(), timer: time.NewTimer(0)}
	p.step()
	return p
}

func (p *pace) step() {
	if p.rate > 0 {
		p.next = p.next.Add(time.Duration(p.random.ExpFloat64() / p.rate * float64(time.Second)))
	}
}

// wait waits for the next beginning and gives it: it is in the past where earlier requests have put it off. It tells
// false when ctx ends.
func (p *pace) wait(ctx context.Context) (intended time.Time, ok bool) {
	now := time.Now()
	if p.rate == 0 {
		return now, ctx.Err() == nil
	}
	intended = p.next
	p.step()
	left := intended.Sub(now)
	if left <= 0 {
		return intended, ctx.Err() == nil
	}
	p.timer.Reset(left)
	select {
	case <-p.timer.C:
		return intended, true
	case <-ctx.Done():
		return intended, false
	}
}

func (p *pace) end() { p.timer.Stop() }
