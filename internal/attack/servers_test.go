//go:build linux

package attack

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/doppio-cache/doppio/internal/fault"
	"github.com/doppio-cache/doppio/internal/harness"
	"github.com/doppio-cache/doppio/internal/history"
	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/redistest"
)

// ownFaults are those that need what only an attack has: the lanes, phases of the writers, Clusters, Sentinel.
var ownFaults = []fault.Fault{
	{Name: "late-echo", Where: fault.Everywhere, Inject: of(lateEcho)},
	{Name: "output-buffer", Where: fault.Everywhere, Inject: of(overflow)},
	{Name: "lane-deleted", Where: fault.Everywhere, Inject: of(func(a *attack, _ fault.Shot) { a.onLane("DEL") })},
	{Name: "lane-trimmed", Where: fault.Everywhere, Inject: of(func(a *attack, _ fault.Shot) { a.onLane("XTRIM", "MAXLEN", 0) })},
	{Name: "lane-deleted-unheard", Where: fault.Everywhere, Inject: of(func(a *attack, s fault.Shot) { a.unheard(s, "DEL") })},
	{Name: "lane-trimmed-unheard", Where: fault.Everywhere, Inject: of(func(a *attack, s fault.Shot) { a.unheard(s, "XTRIM", "MAXLEN", 1) })},
	{Name: "restart-old", Where: "s", Inject: of(restartOld)},
	{Name: "failover", Where: "r", Inject: of(failover)},
	{Name: "move-slot", Where: "c", Inject: of(func(a *attack, s fault.Shot) {
		a.moveSlot(a.servers.key(s.Node%a.fleet.config.Keys), s)
	})},
	{Name: "move-lane", Where: "c", Inject: of(func(a *attack, s fault.Shot) { a.moveSlot(lane.Of(a.servers.namespace, 0).Stream, s) })},
	{Name: "cut-bus", Where: "c", Inject: of(cutBus)},
}

// onLane runs a command with the stream of the lane as its first key.
func (a *attack) onLane(verb string, args ...any) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), adminTimeout)
	defer cancel()
	err := a.servers.raw.Do(ctx, append([]any{verb, lane.Of(a.servers.namespace, 0).Stream}, args...)...).Err()
	if err != nil {
		a.t.Fatalf("%s of the lane: %v", verb, err)
	}
}

// unheard runs a command on the lane after one instance has missed its last messages, which cannot be replayed then. It
// waits for the time when writers rest: what comes next would hide what was missed.
func (a *attack) unheard(s fault.Shot, verb string, args ...any) {
	a.t.Helper()
	const missed, lull = 300 * time.Millisecond, 50 * time.Millisecond
	a.awaitPhase(workFor - missed)
	a.Ways(s.Seat).Set(harness.Mode{Which: harness.Subscriptions, Lose: 1})
	defer a.Ways(s.Seat).Set(harness.Mode{})
	harness.Sleep(a.ctx, missed+lull)
	a.onLane(verb, args...)
}

// overflow makes subscribers' output buffers so small that one long message, which none can read, makes Redis cut them off.
func overflow(a *attack, _ fault.Shot) {
	a.t.Helper()
	const set, limit = "client-output-buffer-limit", "pubsub "
	a.servers.mustEachNode("CONFIG", "SET", set, limit+"1 1 1")
	channel, message := lane.Of(a.servers.namespace, 0).Channel, strings.Repeat("\xff", 64<<10)
	ctx, cancel := context.WithTimeout(a.t.Context(), adminTimeout)
	defer cancel()
	_, clients := a.servers.masters()
	for _, c := range clients {
		err := c.Publish(ctx, channel, message).Err()
		if err != nil {
			a.t.Fatalf("a long message: %v", err)
		}
		if a.servers.cluster != nil {
			_ = c.SPublish(ctx, channel, message).Err() // only one of them has the channel
		}
	}
	a.servers.mustEachNode("CONFIG", "SET", set, limit+"33554432 8388608 60")
}

// restartOld brings the server back as it was some time ago. What was acknowledged since is lost.
func restartOld(a *attack, s fault.Shot) {
	a.t.Helper()
	node, admin := a.servers.nodes[0], a.servers.admins[0]
	ctx, cancel := context.WithTimeout(a.t.Context(), adminTimeout)
	defer cancel()
	dir, err := admin.ConfigGet(ctx, "dir").Result()
	if err != nil {
		a.t.Fatalf("where the server saves: %v", err)
	}
	from := history.Now()
	// Not BGSAVE, whose process would outlive the server it is to be killed with.
	if err := admin.Save(ctx).Err(); err != nil {
		a.t.Fatalf("save: %v", err)
	}
	harness.Sleep(a.ctx, s.Length)
	if *strictFlag {
		a.fleet.source.Hold(true) // what is changed again hides what was lost
		defer a.fleet.source.Hold(false)
	}
	node.Kill()
	node.Restart()
	a.void(from, history.Now())
	if err := os.Remove(filepath.Join(dir["dir"], "dump.rdb")); err != nil { // the next restart is to be empty
		a.t.Fatalf("the server's dump: %v", err)
	}
	if *strictFlag {
		harness.Sleep(a.ctx, recovery+2*maxStaleness)
	}
}

// replicationLag is more than a replica is behind its master on one machine.
const replicationLag = 2 * time.Second

// failover kills the master. What it acknowledged last may be lost, and until the old master has become a replica some instance
// may take it for a master.
func failover(a *attack, _ fault.Shot) {
	a.t.Helper()
	from := history.Now() - int64(replicationLag)
	old := a.servers.sentinel.Master()
	a.servers.sentinel.Failover(a.t)
	old.Restart()
	a.servers.sentinel.AwaitReady(a.t)
	a.void(from, history.Now())
}

// moveSlot moves the slot of a key to another master, and takes its time.
func (a *attack) moveSlot(key string, s fault.Shot) {
	a.t.Helper()
	c := a.servers.cluster
	slot := c.Slot(a.t, key)
	from := c.Owner(a.t, slot)
	var others []*redistest.Server
	for _, n := range c.Nodes {
		if n != from {
			others = append(others, n)
		}
	}
	to := others[s.Node%len(others)]
	c.OpenSlot(a.t, slot, from, to)
	harness.Sleep(a.ctx, s.Length)
	c.MoveSlot(a.t, slot, from, to)
	a.servers.settle()
}

// cutBus stalls what masters say to one of them, or to each other at all.
func cutBus(a *attack, s fault.Shot) {
	a.t.Helper()
	cut := a.servers.bus
	if one := s.Node % (len(cut) + 1); one < len(cut) {
		cut = cut[one : one+1]
	}
	for _, w := range cut {
		w.Set(harness.Mode{Stall: true})
	}
	harness.Sleep(a.ctx, s.Length)
	for _, w := range cut {
		w.Set(harness.Mode{})
	}
	a.servers.settle()
}
