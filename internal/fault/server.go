//go:build unix

package fault

import (
	"context"
	"errors"
)

// servers are faults of Redis.
var servers = []Fault{
	{
		Name: "stop-server", Where: Everywhere, Ours: true, Inject: stopServer,
		About: "a Redis process is frozen (SIGSTOP), and goes on",
	},
	ours("kill-subscriptions", command("CLIENT", "KILL", "TYPE", "pubsub")),
	ours("kill-connections", command("CLIENT", "KILL", "TYPE", "normal")),
	ours("script-flush", command("SCRIPT", "FLUSH")),
	{
		Name: "flushall", Where: Everywhere, Ours: true, Inject: command("FLUSHALL"),
		About: "somebody empties Redis (FLUSHALL)",
	},
	ours("deny-publish", deny("-publish", "-spublish")),
	ours("deny-xadd", deny("-xadd")),
	ours("deny-scripts", deny("-evalsha", "-eval")),
	ours("out-of-memory", during(
		[]any{"CONFIG", "SET", "maxmemory", "1"}, []any{"CONFIG", "SET", "maxmemory", "0"})),
	{
		Name: "restart-server", Where: "sc", Ours: true, Inject: restartServer,
		About: "a Redis process dies and comes back empty",
	},
}

// ours makes a fault that any servers can suffer which the run started.
func ours(name string, inject func(context.Context, Target, Shot) error) Fault {
	return Fault{Name: name, Where: Everywhere, Ours: true, Inject: inject}
}

func restartServer(ctx context.Context, t Target, s Shot) error {
	node, err := node(ctx, t, s)
	if err != nil {
		return err
	}
	return t.Servers().Restart(ctx, node, s.Length/2)
}

func stopServer(ctx context.Context, t Target, s Shot) error {
	node, err := node(ctx, t, s)
	if err != nil {
		return err
	}
	if err := t.Servers().Pause(node); err != nil {
		return err
	}
	return errors.Join(Hold(ctx, s.Length), t.Servers().Resume(node))
}

// node is the node that is hit.
func node(ctx context.Context, t Target, s Shot) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if t.Servers().Nodes() == 0 {
		return 0, errNoNodes
	}
	return s.Node % t.Servers().Nodes(), nil
}

// command sends one command to every node.
func command(args ...any) func(context.Context, Target, Shot) error {
	return func(ctx context.Context, t Target, _ Shot) error {
		return t.Servers().EachNode(ctx, args...)
	}
}

// deny takes permissions from all clients by ACL rules, and gives them back.
func deny(rules ...any) func(context.Context, Target, Shot) error {
	user := []any{"ACL", "SETUSER", "default"}
	return during(append(user[:3:3], rules...), append(user[:3:3], "+@all"))
}

// during sends one command to every node, holds that, and sends another.
func during(do, undo []any) func(context.Context, Target, Shot) error {
	return func(ctx context.Context, t Target, s Shot) error {
		err := t.Servers().EachNode(ctx, do...)
		if err == nil {
			err = Hold(ctx, s.Length)
		}
		// It is undone also if ctx has ended.
		return errors.Join(err, t.Servers().EachNode(context.WithoutCancel(ctx), undo...))
	}
}
