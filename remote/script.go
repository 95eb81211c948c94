package remote

import (
	"context"
	"embed"
	"slices"

	"github.com/redis/go-redis/v9"
)

//go:embed script/*.lua
var scriptFiles embed.FS

var (
	scriptAcquire   = loadScript("acquire")
	scriptFill      = loadScript("fill")
	scriptRelease   = loadScript("release")
	scriptSet       = loadScript("set")
	scriptSetNX     = loadScript("setnx")
	scriptDelete    = loadScript("delete")
	scriptExpire    = loadScript("expire")
	scriptTTL       = loadScript("ttl")
	scriptIncrement = loadScript("increment")
	scriptTag       = loadScript("tag")
	scriptKeep      = loadScript("keep")
	scriptSweep     = loadScript("sweep")
)

type script struct{ source, sha string }

// loadScript puts the shared functions before a script. The files are embedded, so that one is missing shows in the
// first test that runs.
func loadScript(name string) script {
	source := mustRead("record") + mustRead(name)
	return script{source: source, sha: redis.NewScript(source).Hash()}
}

func mustRead(name string) string {
	b, err := scriptFiles.ReadFile("script/" + name + ".lua")
	if err != nil {
		panic(err)
	}
	return string(b)
}

// onceCmd is a command that go-redis must not send a second time after its reply was lost.
type onceCmd struct {
	*redis.Cmd
	ctx context.Context // its round trip's
}

// NoRetry is what go-redis asks before it repeats a command.
func (onceCmd) NoRetry() bool { return true }

// Args is what go-redis asks for when it writes a command. One whose caller has left meanwhile cannot be written, and
// the connection is closed: go-redis heeds a context while it waits for the pool and dials, but not while a new
// connection is greeted.
func (c onceCmd) Args() []any {
	if err := c.ctx.Err(); err != nil {
		args := slices.Clone(c.Cmd.Args())
		args[1] = unsendable{err}
		return args
	}
	return c.Cmd.Args()
}

// unsendable is an argument that cannot be written.
type unsendable struct{ err error }

// MarshalBinary is what go-redis asks for the bytes of an argument.
func (u unsendable) MarshalBinary() ([]byte, error) { return nil, u.err }

func (s script) cmd(ctx context.Context, byHash bool, key string, args []any) onceCmd {
	all := make([]any, 0, 4+len(args))
	if byHash {
		all = append(all, "evalsha", s.sha, 1, key)
	} else {
		all = append(all, "eval", s.source, 1, key)
	}
	c := redis.NewCmd(ctx, append(all, args...)...)
	c.SetFirstKeyPos(3)
	return onceCmd{c, ctx}
}

// run executes the script. A server that does not know it yet has executed nothing, so sending it whole is no repetition.
func (s script) run(ctx context.Context, rdb redis.UniversalClient, key string, args ...any) (any, error) {
	c := s.cmd(ctx, true, key, args)
	_ = rdb.Process(ctx, c) // the command keeps its error
	if redis.HasErrorPrefix(c.Err(), "NOSCRIPT") {
		c = s.cmd(ctx, false, key, args)
		_ = rdb.Process(ctx, c)
	}
	return c.Result()
}

// scriptCall is one script of a pipeline.
type scriptCall struct {
	key  string
	args []any
}

// pipeline executes the script for many keys, which may lie in different slots, and gives each one's own result: Exec's
// error is only the first of them, and a server that has lost its scripts fails some commands while their neighbours run.
func (s script) pipeline(ctx context.Context, rdb redis.UniversalClient, calls []scriptCall) []onceCmd {
	cmds := make([]onceCmd, len(calls))
	all := make([]int, len(calls))
	for i := range all {
		all[i] = i
	}
	s.send(ctx, rdb, true, calls, all, cmds)
	// A node learns the script from the first command that is sent to it whole. Which node has which key is go-redis'
	// to know, so one is sent whole, then two, then four, until none is unknown: a single server is sent one, and some
	// nodes little more than one each.
	unknown := withoutScript(cmds, all)
	for whole := 1; len(unknown) > 0; whole *= 2 {
		n := min(whole, len(unknown))
		s.send(ctx, rdb, false, calls, unknown[:n], cmds)
		s.send(ctx, rdb, true, calls, unknown[n:], cmds)
		unknown = withoutScript(cmds, unknown[n:])
	}
	return cmds
}

// withoutScript are those of which that met a server that does not know the script.
func withoutScript(cmds []onceCmd, which []int) []int {
	var unknown []int
	for _, i := range which {
		if redis.HasErrorPrefix(cmds[i].Err(), "NOSCRIPT") {
			unknown = append(unknown, i)
		}
	}
	return unknown
}

func (s script) send(ctx context.Context, rdb redis.UniversalClient, byHash bool, calls []scriptCall, which []int, cmds []onceCmd) {
	if len(which) == 0 {
		return
	}
	pipe := rdb.Pipeline()
	for _, i := range which {
		cmds[i] = s.cmd(ctx, byHash, calls[i].key, calls[i].args)
		_ = pipe.Process(ctx, cmds[i])
	}
	_, err := pipe.Exec(ctx)
	for _, i := range which {
		// A pipeline that failed before a command was answered may leave the command without an error of its own.
		if err != nil && cmds[i].Err() == nil && cmds[i].Val() == nil {
			cmds[i].SetErr(err)
		}
	}
}
