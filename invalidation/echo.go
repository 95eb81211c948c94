package invalidation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/doppio-cache/doppio/internal/lane"
)

const (
	// maxAsking is how many echoes may be under way that could still be worth something.
	maxAsking = 4
	// maxHanging is how many echoes go-redis may not have returned from, and how many subscriptions. Where the client has
	// no ReadTimeout, one that hangs ends with its connection only, and a new one finds another connection.
	maxHanging = 64
)

// errUnanswered is why an echo failed that go-redis has not returned from in time.
var errUnanswered = errors.New("the server has not answered an echo")

// beat is the time between two echoes.
func (o Options) beat() time.Duration { return max(o.MaxStaleness/4, time.Millisecond) }

// echoes are those under way, as far as the receiver keeps book of them. Their numbers rise.
type echoes struct {
	newest uint64 // the number of the last one that was sent
	told   uint64 // the number of the last one whose answer the handler was told
	sent   []question
	err    error // why the last one that ended failed
}

// question is an echo that may come back over the subscription.
type question struct {
	number uint64
	sent   time.Time
	known  lane.ID // an id that the lane had then
}

// trust is an echo that came back before the floors were known which it names.
type trust struct {
	sent  time.Time
	floor lane.ID
}

// answer is what the server replies to an echo.
type answer struct {
	lanes  string
	last   lane.ID
	newest string            // the newest floor
	floors map[string]uint64 // nil: the newest floor is the one that the echo named
	// unreadable is how many floors are not ids: they are left out.
	unreadable int
}

// pulse sends an echo with every beat, and looks whether they come back.
func (r *Receiver) pulse(ctx context.Context) {
	tick := time.NewTicker(r.opts.beat())
	defer tick.Stop()
	silence := time.NewTimer(r.opts.beat())
	defer silence.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			r.ask(ctx)
		case <-r.kick:
			r.ask(ctx)
		case <-silence.C:
			silence.Reset(r.watch(time.Now()))
		}
	}
}

// ask sends an echo, from a goroutine of its own. There may be no subscription: then the answer tells what the lane has.
func (r *Receiver) ask(ctx context.Context) {
	if r.hanging.Load() >= maxHanging {
		return
	}
	select {
	case r.asking <- struct{}{}:
	default:
		return
	}
	var session uint64
	r.mu.Lock()
	if r.session != nil {
		session = r.session.number
	}
	now := time.Now() // before the echo can be on its way
	known := r.known()
	number := r.echoes.add(now, r.opts.MaxStaleness, known)
	floor, greeting := r.floor, opening(max(known, r.chain.w), r.floorOfAll())
	r.mu.Unlock()
	free := sync.OnceFunc(func() { <-r.asking })
	// go-redis may not return: it heeds no context once it has sent a command. Its echo is worth nothing then.
	stop := after(r.opts.MaxStaleness, func() {
		free()
		if ctx.Err() == nil {
			r.answered(session, number, answer{}, errUnanswered)
		}
	})
	r.hanging.Add(1)
	r.done.Go(func() {
		defer r.hanging.Add(-1)
		var a answer
		err := guarded(r.opts.Panics, func() (err error) {
			a, err = r.echo(ctx, session, number, floor, greeting)
			return err
		})
		stop()
		free()
		if ctx.Err() == nil {
			r.answered(session, number, a, err)
		}
		if err == nil {
			_ = guarded(r.opts.Panics, func() error { r.follow(ctx); return nil }) // the next echo looks again
		}
	})
}

// add notes an echo. Those that would come too late to be worth anything are forgotten.
func (e *echoes) add(now time.Time, worth time.Duration, known lane.ID) uint64 {
	e.sent = slices.DeleteFunc(e.sent, func(q question) bool { return now.Sub(q.sent) >= worth })
	e.newest++
	e.sent = append(e.sent, question{number: e.newest, sent: now, known: known})
	return e.newest
}

// take gives an echo that was sent, and forgets it.
func (e *echoes) take(number uint64) (q question, ok bool) {
	i := slices.IndexFunc(e.sent, func(q question) bool { return q.number == number })
	if i < 0 {
		return question{}, false
	}
	q = e.sent[i]
	e.sent = slices.Delete(e.sent, i, i+1)
	return q, true
}

// opening is the first message of a lane, or of its new history, where nothing has happened yet. It
// says what is known here: the newest id of the lane, and the newest floor of all caches.
func opening(known, floor lane.ID) []byte {
	m := Message{Type: TypeKeys, Previous: uint64(known), ID: uint64(floor)}
	b, _ := m.Append(nil) // it is small enough
	return b
}

// echo runs the script.
func (r *Receiver) echo(parent context.Context, session, number uint64, floor string, greeting []byte) (answer, error) {
	ctx, cancel := context.WithTimeout(parent, r.opts.MaxStaleness) // after that it is worth nothing
	defer cancel()
	if err := r.servers.Ensure(ctx); err != nil {
		return answer{}, clientError(err)
	}
	sharded := "0"
	if r.servers.Many() {
		sharded = "1"
	}
	asked := time.Now()
	reply, err := scriptEcho.run(ctx, r.rdb, []string{r.names.Count, r.names.Stream, r.names.Floors},
		r.opts.Lanes, r.names.Echo(r.opts.Instance), nonce(session, number), floor, sharded, r.names.Channel, greeting)
	r.servers.Heard(err)
	if err != nil {
		return answer{}, err
	}
	r.servers.Proved(asked) // the script writes
	return parseAnswer(reply)
}

func parseAnswer(reply []any) (answer, error) {
	head, err := texts(reply[:min(len(reply), 3)], 1)
	if err != nil {
		return answer{}, err
	}
	a := answer{lanes: head[0]}
	if len(reply) == 1 {
		return a, nil // nothing more to somebody who disagrees
	}
	if len(head) < 3 {
		return answer{}, errors.New("invalidation: an echo's answer is cut short")
	}
	a.newest = head[2]
	if a.last, err = lane.Parse(head[1]); err != nil || len(reply) == 3 || reply[3] == nil {
		return a, err
	}
	fields, err := pairs(reply[3])
	if err != nil {
		return answer{}, err
	}
	byName := make(map[string]string, len(fields)/2)
	for i := 0; i < len(fields); i += 2 {
		byName[fields[i]] = fields[i+1]
	}
	a.floors, a.unreadable = lane.Floors(byName)
	return a, nil
}

func nonce(session, number uint64) string {
	return strconv.FormatUint(session, 16) + "-" + strconv.FormatUint(number, 16)
}

// maxEcho is more than the bytes of an echo: two numbers in hex, and two ids.
const maxEcho = 128

// words splits a text of most bytes at most into n words. Anybody may publish on a channel, and what is longer or has
// more words is not looked at any further.
func words(text string, n, most int) ([]string, bool) {
	if len(text) > most {
		return nil, false
	}
	f := strings.SplitN(text, " ", n+1)
	return f, len(f) == n
}

// parseEcho reads what the script publishes.
func parseEcho(payload string) (session, number uint64, last lane.ID, newest string, err error) {
	f, ok := words(payload, 3, maxEcho)
	if !ok {
		return 0, 0, 0, "", fmt.Errorf("%w: %d bytes are no echo", ErrMalformed, len(payload))
	}
	left, right, _ := strings.Cut(f[0], "-")
	session, err1 := strconv.ParseUint(left, 16, 64)
	number, err2 := strconv.ParseUint(right, 16, 64)
	last, err3 := lane.Parse(f[1])
	if err = errors.Join(err1, err2, err3); err != nil {
		return 0, 0, 0, "", fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return session, number, last, f[2], nil
}

// answered takes what the server replied to an echo, whatever became of the subscription meanwhile.
func (r *Receiver) answered(session, number uint64, a answer, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.echoes.err = err
	r.metLocked(err)
	if err != nil {
		r.opts.Logger.Debug("doppio: echo failed", "lane", r.opts.Lane, "error", err)
		return
	}
	if a.lanes != strconv.Itoa(r.opts.Lanes) {
		r.echoes.err = fmt.Errorf("%w: it has %s, this instance %d", ErrLaneCount, a.lanes, r.opts.Lanes)
		if r.session != nil && r.session.number == session {
			_ = r.endLocked(r.session, r.echoes.err) // it is the reason, unless there was one before
		}
		return
	}
	if number <= r.echoes.told {
		return // a newer one was faster, or the lane was lost since
	}
	r.echoes.told = number
	if a.floors != nil {
		if a.unreadable > 0 && r.floor != a.newest { // once for each change of the floors, not with every echo
			r.opts.Logger.Warn("doppio: floors that are not ids are left out", "lane", r.opts.Lane, "count", a.unreadable)
		}
		r.floor = a.newest
	}
	r.learn(a.last, a.floors)
	if t := r.awaiting; t != nil && a.floors != nil {
		if newest, err := lane.Parse(a.newest); err == nil && t.floor <= newest {
			r.awaiting = nil
			r.trust(t.sent)
		}
	}
}

// echoed takes an echo that came back over the subscription: what had been published on its server before it has come, too. It tells
// whether there is something to catch up with.
func (r *Receiver) echoed(s *session, payload string) (behind bool) {
	session, number, last, newest, err := parseEcho(payload)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.opts.Logger.Debug("doppio: unreadable echo", "lane", r.opts.Lane, "error", err)
		return false
	}
	if s.lost != nil || session != s.number {
		return false
	}
	q, ok := r.echoes.take(number)
	if !ok {
		return false // too late to be worth anything, or a second time
	}
	if q.sent.After(s.heard) {
		s.heard = q.sent
	}
	if s.counts == 0 || number < s.counts {
		return false // a replay may know more than this echo does
	}
	if why := r.chain.echo(last, q.known); why != 0 {
		behind = r.broken(s, why)
		r.advanced()
		return behind
	}
	floor, err := lane.Parse(newest)
	switch {
	case err != nil:
		r.opts.Logger.Debug("doppio: unreadable floor", "lane", r.opts.Lane, "error", err)
	case newest != r.floor:
		r.awaiting = &trust{sent: q.sent, floor: floor} // this echo's answer brings the floors
	default:
		r.learn(last, nil)
		r.trust(q.sent)
	}
	return false
}

// trust tells that everything published before sent is known. It is called with mu held.
func (r *Receiver) trust(sent time.Time) {
	if sent.After(r.trusted) {
		r.trusted = sent
		r.opts.Handler.OnTrust(r.opts.Lane, sent)
	}
	r.move(StateLive, "in step", nil)
}
