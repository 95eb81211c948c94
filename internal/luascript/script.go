// Package luascript runs Lua scripts in Redis. A command is sent by the hash of its script, and
// with the whole script to a server that does not know it. No command is sent twice: go-redis
// repeats a command whose reply was lost, and a change would then be made twice.
package luascript

import (
	"context"
	"slices"

	"github.com/redis/go-redis/v9"
)

// Script is the source of a script and its hash.
type Script struct {
	source string
	sha    any // a string; converted to an argument once
}

// New returns the script with this source.
func New(source string) Script {
	return Script{source: source, sha: redis.NewScript(source).Hash()}
}

// Source returns the source of the script.
func (s Script) Source() string { return s.source }

// Hash returns the SHA-1 hash by which Redis knows the script.
func (s Script) Hash() string { return s.sha.(string) }

// Call holds the keys and the arguments of one run of a script.
type Call struct {
	Keys []string
	Args []any
}

// Gate may be implemented by the context of a run. It is asked right before a command is written. A
// command for which it returns an error is not written, and its connection is closed: go-redis
// honors a context while it waits for a connection of its pool and dials, but not during the
// handshake.
type Gate interface{ BeforeSend() error }

// Cmd is a command that go-redis does not send twice.
type Cmd struct {
	*redis.Cmd
	gate Gate // nil: the command is always written
}

// NoRetry tells go-redis not to repeat the command.
func (Cmd) NoRetry() bool { return true }

// Args returns the arguments that go-redis writes.
func (c Cmd) Args() []any {
	if c.gate == nil {
		return c.Cmd.Args()
	}
	if err := c.gate.BeforeSend(); err != nil {
		args := slices.Clone(c.Cmd.Args())
		args[1] = failingArg{err}
		return args
	}
	return c.Cmd.Args()
}

// failingArg is an argument that go-redis cannot write.
type failingArg struct{ err error }

// MarshalBinary returns the error that go-redis reports for the argument.
func (a failingArg) MarshalBinary() ([]byte, error) { return nil, a.err }

func (s Script) cmd(ctx context.Context, byHash bool, call Call) Cmd {
	all := make([]any, 0, 3+len(call.Keys)+len(call.Args))
	if byHash {
		all = append(all, "evalsha", s.sha, len(call.Keys))
	} else {
		all = append(all, "eval", s.source, len(call.Keys))
	}
	for _, key := range call.Keys {
		all = append(all, key)
	}
	c := redis.NewCmd(ctx, append(all, call.Args...)...)
	c.SetFirstKeyPos(3)
	gate, _ := ctx.(Gate)
	return Cmd{c, gate}
}

// Run runs the script. A server that does not know the script has run nothing, so sending it whole
// is no repetition.
func (s Script) Run(ctx context.Context, rdb redis.UniversalClient, keys []string, args ...any) (any, error) {
	return s.run(ctx, rdb, Call{keys, args}).Result()
}

func (s Script) run(ctx context.Context, rdb redis.UniversalClient, call Call) Cmd {
	c := s.cmd(ctx, true, call)
	_ = rdb.Process(ctx, c) // the command keeps its error
	if isUnknown(c.Err()) {
		c = s.cmd(ctx, false, call)
		_ = rdb.Process(ctx, c)
	}
	return c
}

// RunEach runs the script once for each call: several calls are a pipeline, as in Pipeline.
func (s Script) RunEach(ctx context.Context, rdb redis.UniversalClient, calls []Call) []Cmd {
	if len(calls) == 1 {
		return []Cmd{s.run(ctx, rdb, calls[0])}
	}
	return s.Pipeline(ctx, rdb, calls)
}

// Pipeline runs the script once for each call, in a pipeline. The keys of the calls may lie in
// different slots. Each command has its own result: the error of a pipeline is only the first one,
// and on a server that has lost its scripts some commands fail while others run.
func (s Script) Pipeline(ctx context.Context, rdb redis.UniversalClient, calls []Call) []Cmd {
	cmds := make([]Cmd, len(calls))
	all := make([]int, len(calls))
	for i := range all {
		all[i] = i
	}
	s.send(ctx, rdb, true, calls, all, cmds)
	// A node learns the script from the first command that is sent to it whole. Only go-redis knows
	// which node has which key. So one command is sent whole, then two, then four, until none is
	// unknown: a single server is sent one, and each of several nodes little more than one.
	unknown := unknownIndexes(cmds, all)
	for whole := 1; len(unknown) > 0; whole *= 2 {
		n := min(whole, len(unknown))
		s.send(ctx, rdb, false, calls, unknown[:n], cmds)
		s.send(ctx, rdb, true, calls, unknown[n:], cmds)
		unknown = unknownIndexes(cmds, unknown[n:])
	}
	return cmds
}

// isUnknown reports whether a server does not know the script.
func isUnknown(err error) bool { return err != nil && redis.HasErrorPrefix(err, "NOSCRIPT") }

// unknownIndexes returns those of indexes whose command met a server that does not know the script.
func unknownIndexes(cmds []Cmd, indexes []int) []int {
	var unknown []int
	for _, i := range indexes {
		if isUnknown(cmds[i].Err()) {
			unknown = append(unknown, i)
		}
	}
	return unknown
}

func (s Script) send(ctx context.Context, rdb redis.UniversalClient, byHash bool, calls []Call, indexes []int, cmds []Cmd) {
	if len(indexes) == 0 {
		return
	}
	pipe := rdb.Pipeline()
	for _, i := range indexes {
		cmds[i] = s.cmd(ctx, byHash, calls[i])
		_ = pipe.Process(ctx, cmds[i])
	}
	_, err := pipe.Exec(ctx)
	for _, i := range indexes {
		// A pipeline that failed before a command was answered may leave the command without an
		// error.
		if err != nil && cmds[i].Err() == nil && cmds[i].Val() == nil {
			cmds[i].SetErr(err)
		}
	}
}
