//go:build linux

package attack

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/doppio-cache/doppio/internal/harness"
	"github.com/doppio-cache/doppio/internal/history"
	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/redistest"
)

// serverFaults are of Redis. They are called by the test's goroutine.
var serverFaults = []fault{
	{name: "stop-server", where: "scr", inject: func(a *attack, s shot) bool {
		nodes, _ := a.servers.masters()
		node := nodes[s.node%len(nodes)]
		node.Pause()
		harness.Sleep(a.ctx, s.length)
		node.Resume()
		a.settle()
		return true
	}},
	{name: "kill-subscriptions", where: "scr", inject: command("CLIENT", "KILL", "TYPE", "pubsub")},
	{name: "kill-connections", where: "scr", inject: command("CLIENT", "KILL", "TYPE", "normal")},
	{name: "script-flush", where: "scr", inject: command("SCRIPT", "FLUSH")},
	{name: "flushall", where: "scr", inject: command("FLUSHALL")},
	{name: "output-buffer", where: "scr", inject: overflow},
	{name: "lane-deleted", where: "scr", inject: func(a *attack, _ shot) bool { return a.onLane("DEL") }},
	{name: "lane-trimmed", where: "scr", inject: func(a *attack, _ shot) bool { return a.onLane("XTRIM", "MAXLEN", 0) }},
	{name: "lane-deleted-unheard", where: "scr", inject: func(a *attack, s shot) bool { return a.unheard(s, "DEL") }},
	{name: "lane-trimmed-unheard", where: "scr", inject: func(a *attack, s shot) bool { return a.unheard(s, "XTRIM", "MAXLEN", 1) }},
	{name: "deny-publish", where: "scr", inject: during(
		[]any{"ACL", "SETUSER", "default", "-publish", "-spublish"}, []any{"ACL", "SETUSER", "default", "+@all"})},
	{name: "deny-xadd", where: "scr", inject: during(
		[]any{"ACL", "SETUSER", "default", "-xadd"}, []any{"ACL", "SETUSER", "default", "+@all"})},
	{name: "deny-scripts", where: "scr", inject: during(
		[]any{"ACL", "SETUSER", "default", "-evalsha", "-eval"}, []any{"ACL", "SETUSER", "default", "+@all"})},
	{name: "out-of-memory", where: "scr", inject: during(
		[]any{"CONFIG", "SET", "maxmemory", "1"}, []any{"CONFIG", "SET", "maxmemory", "0"})},
	{name: "restart-empty", where: "sc", inject: func(a *attack, s shot) bool {
		n := s.node % len(a.servers.nodes)
		a.servers.nodes[n].Kill()
		harness.Sleep(a.ctx, s.length/2)
		a.servers.nodes[n].Restart()
		if a.servers.cluster != nil {
			a.servers.announceBus(a.t, n)
		}
		a.settle()
		return true
	}},
	{name: "restart-old", where: "s", inject: restartOld},
	{name: "failover", where: "r", inject: failover},
	{name: "move-slot", where: "c", inject: func(a *attack, s shot) bool {
		a.moveSlot(a.servers.key(s.node%a.fleet.config.Keys), s)
		return true
	}},
	{name: "move-lane", where: "c", inject: func(a *attack, s shot) bool {
		a.moveSlot(lane.Of(a.servers.namespace, 0).Stream, s)
		return true
	}},
	{name: "cut-bus", where: "c", inject: cutBus},
}

// command sends one command to every master.
func command(args ...any) func(*attack, shot) bool {
	return func(a *attack, _ shot) bool {
		a.t.Helper()
		a.servers.eachMaster(a.t, args...)
		return true
	}
}

// during sends one command to every master, waits, and sends another.
func during(do, undo []any) func(*attack, shot) bool {
	return func(a *attack, s shot) bool {
		a.t.Helper()
		a.servers.eachMaster(a.t, do...)
		harness.Sleep(a.ctx, s.length)
		a.servers.eachMaster(a.t, undo...)
		return true
	}
}

// settle waits until a Cluster is whole again.
func (a *attack) settle() {
	a.t.Helper()
	if a.servers.cluster != nil {
		a.servers.cluster.AwaitHealthy(a.t)
	}
}

// onLane runs a command with the stream of the lane as its first key.
func (a *attack) onLane(verb string, args ...any) bool {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), adminTimeout)
	defer cancel()
	err := a.servers.raw.Do(ctx, append([]any{verb, lane.Of(a.servers.namespace, 0).Stream}, args...)...).Err()
	if err != nil {
		a.t.Fatalf("%s of the lane: %v", verb, err)
	}
	return true
}

// unheard runs a command on the lane after one instance has missed its last messages, which cannot be replayed then. It
// waits for the time when writers rest: what comes next would hide what was missed.
func (a *attack) unheard(s shot, verb string, args ...any) bool {
	a.t.Helper()
	const missed, lull = 300 * time.Millisecond, 50 * time.Millisecond
	a.awaitPhase(workFor - missed)
	a.ways(s, func(w *way) { w.set(mode{which: subscriptions, lose: 1}) })
	defer a.ways(s, func(w *way) { w.set(mode{}) })
	harness.Sleep(a.ctx, missed+lull)
	return a.onLane(verb, args...)
}

// overflow makes subscribers' output buffers so small that one long message, which none can read, makes Redis cut them off.
func overflow(a *attack, _ shot) bool {
	a.t.Helper()
	const set, limit = "client-output-buffer-limit", "pubsub "
	a.servers.eachMaster(a.t, "CONFIG", "SET", set, limit+"1 1 1")
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
	a.servers.eachMaster(a.t, "CONFIG", "SET", set, limit+"33554432 8388608 60")
	return true
}

// restartOld brings the server back as it was some time ago. What was acknowledged since is lost.
func restartOld(a *attack, s shot) bool {
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
	harness.Sleep(a.ctx, s.length)
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
	return true
}

// replicationLag is more than a replica is behind its master on one machine.
const replicationLag = 2 * time.Second

// failover kills the master. What it acknowledged last may be lost, and until the old master has become a replica some instance
// may take it for a master.
func failover(a *attack, _ shot) bool {
	a.t.Helper()
	from := history.Now() - int64(replicationLag)
	old := a.servers.sentinel.Master()
	a.servers.sentinel.Failover(a.t)
	old.Restart()
	a.servers.sentinel.AwaitReady(a.t)
	a.void(from, history.Now())
	return true
}

// moveSlot moves the slot of a key to another master, and takes its time.
func (a *attack) moveSlot(key string, s shot) {
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
	to := others[s.node%len(others)]
	c.OpenSlot(a.t, slot, from, to)
	harness.Sleep(a.ctx, s.length)
	c.MoveSlot(a.t, slot, from, to)
	a.settle()
}

// cutBus stalls what masters say to one of them, or to each other at all.
func cutBus(a *attack, s shot) bool {
	a.t.Helper()
	cut := a.servers.bus
	if one := s.node % (len(cut) + 1); one < len(cut) {
		cut = cut[one : one+1]
	}
	for _, w := range cut {
		w.set(mode{stall: true})
	}
	harness.Sleep(a.ctx, s.length)
	for _, w := range cut {
		w.set(mode{})
	}
	a.settle()
	return true
}
