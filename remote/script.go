package remote

import (
	"context"
	"embed"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
)

//go:embed script/*.lua
var scriptFiles embed.FS

var (
	scriptAcquire = loadScript("acquire", mustRead("header"), mustRead("lease"))
	scriptFill    = loadScript("fill", mustRead("clock"), mustRead("header"), mustRead("lease"), mustRead("put"))
	scriptRelease = loadScript("release", mustRead("header"), mustRead("lease"))
	scriptTTL     = loadScript("ttl", mustRead("header"))
	scriptTag     = loadScript("tag", mustRead("put"), mustRead("prolong"))
	scriptKeep    = loadScript("keep", mustRead("prolong"))
	scriptReclaim = loadScript("reclaim", mustRead("header"), mustRead("record"))
	scriptSweep   = loadScript("sweep")
	scriptLanes   = loadScript("lanes", lane.Script)
	scriptFloors  = loadScript("floors", lane.Script)
	scriptLift    = loadScript("lift", mustRead("header"), mustRead("record"))

	// These announce.
	scriptSet       = loadScript("set", mustRead("clock"), mustRead("deadline"), lane.Script, mustRead("change"), mustRead("put"))
	scriptSetAll    = loadScript("setall", mustRead("clock"), mustRead("deadline"), lane.Script, mustRead("change"), mustRead("put"))
	scriptDeleteAll = loadScript("deleteall", lane.Script, mustRead("header"), mustRead("record"))
	scriptSetNX     = loadScript("setnx", mustRead("clock"), mustRead("deadline"), lane.Script, mustRead("header"), mustRead("record"), mustRead("change"), mustRead("put"))
	scriptDelete    = loadScript("delete", lane.Script, mustRead("header"), mustRead("record"), mustRead("change"))
	scriptExpire    = loadScript("expire", mustRead("clock"), mustRead("deadline"), lane.Script, mustRead("header"), mustRead("record"), mustRead("change"))
	scriptIncrement = loadScript("increment", mustRead("clock"), mustRead("deadline"), lane.Script, mustRead("header"), mustRead("record"), mustRead("change"), mustRead("put"))
	scriptRetire    = loadScript("retire", lane.Script, mustRead("header"), mustRead("change"))
	scriptAnnounce  = loadScript("announce", lane.Script)
	scriptFloor     = loadScript("floor", lane.Script)
	scriptPart      = loadScript("part", lane.Script)
	scriptPublish   = loadScript("publish", lane.Script)
)

type script struct {
	source string
	sha    any // a string, made an argument once
}

// loadScript puts shared functions before a script. A run makes each of them anew, so it is given only those that it
// needs. The files are embedded, so that one is missing shows in the first test that runs.
func loadScript(name string, shared ...string) script {
	source := strings.Join(append(shared, mustRead(name)), "")
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
	err := c.ctx.Err()
	if t, ok := c.ctx.(*trip); ok {
		err = t.send()
	}
	if err != nil {
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

func (s script) cmd(ctx context.Context, byHash bool, keys []string, args []any) onceCmd {
	all := make([]any, 0, 3+len(keys)+len(args))
	if byHash {
		all = append(all, "evalsha", s.sha, len(keys))
	} else {
		all = append(all, "eval", s.source, len(keys))
	}
	for _, key := range keys {
		all = append(all, key)
	}
	c := redis.NewCmd(ctx, append(all, args...)...)
	c.SetFirstKeyPos(3)
	return onceCmd{c, ctx}
}

// run executes the script. A server that does not know it yet has executed nothing, so sending it whole is no repetition.
func (s script) run(ctx context.Context, rdb redis.UniversalClient, keys []string, args ...any) (any, error) {
	return s.process(ctx, rdb, scriptCall{keys, args}).Result()
}

func (s script) process(ctx context.Context, rdb redis.UniversalClient, call scriptCall) onceCmd {
	c := s.cmd(ctx, true, call.keys, call.args)
	_ = rdb.Process(ctx, c) // the command keeps its error
	if unknownScript(c.Err()) {
		c = s.cmd(ctx, false, call.keys, call.args)
		_ = rdb.Process(ctx, c)
	}
	return c
}

// all executes the script for each call: a pipeline, where there are several.
func (s script) all(ctx context.Context, rdb redis.UniversalClient, calls []scriptCall) []onceCmd {
	if len(calls) == 1 {
		return []onceCmd{s.process(ctx, rdb, calls[0])}
	}
	return s.pipeline(ctx, rdb, calls)
}

// unknownScript tells whether a server does not know the script. Most commands have no error, and are not asked which.
func unknownScript(err error) bool { return err != nil && redis.HasErrorPrefix(err, "NOSCRIPT") }

// scriptCall is one script of a pipeline.
type scriptCall struct {
	keys []string
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
		if unknownScript(cmds[i].Err()) {
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
		cmds[i] = s.cmd(ctx, byHash, calls[i].keys, calls[i].args)
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
