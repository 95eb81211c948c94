package invalidation

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
)

//go:embed script/echo.lua
var echoSource string

//go:embed script/replay.lua
var replaySource string

var (
	scriptEcho   = newScript(echoSource)
	scriptReplay = newScript(replaySource)
)

type script struct{ source, sha string }

func newScript(source string) script {
	source = lane.Script + source
	return script{source: source, sha: redis.NewScript(source).Hash()}
}

// once is a command that go-redis does not repeat: an echo that comes late is worth nothing, and Close waits for it.
type once struct{ *redis.Cmd }

// NoRetry is what go-redis asks before it repeats a command.
func (once) NoRetry() bool { return true }

// run executes the script, whose replies are lists.
func (s script) run(ctx context.Context, rdb redis.UniversalClient, keys []string, args ...any) ([]any, error) {
	c := s.cmd(ctx, "evalsha", s.sha, keys, args)
	_ = rdb.Process(ctx, c) // the command keeps its error
	if err := c.Err(); err != nil && redis.HasErrorPrefix(err, "NOSCRIPT") {
		c = s.cmd(ctx, "eval", s.source, keys, args)
		_ = rdb.Process(ctx, c)
	}
	return c.Slice()
}

func (s script) cmd(ctx context.Context, command, script string, keys []string, args []any) once {
	all := make([]any, 0, 3+len(keys)+len(args))
	all = append(all, command, script, len(keys))
	for _, k := range keys {
		all = append(all, k)
	}
	c := redis.NewCmd(ctx, append(all, args...)...)
	c.SetFirstKeyPos(3)
	return once{c}
}

// pairs are the strings of a list inside a reply, two by two.
func pairs(part any) ([]string, error) {
	list, ok := part.([]any)
	if !ok || len(list)%2 != 0 {
		return nil, fmt.Errorf("invalidation: a reply with %d parts of type %T, want pairs", len(list), part)
	}
	return texts(list, 0)
}

// texts are the strings of a reply, of which there must be some.
func texts(reply []any, atLeast int) ([]string, error) {
	if len(reply) < atLeast {
		return nil, fmt.Errorf("invalidation: a reply of %d parts, want %d", len(reply), atLeast)
	}
	out := make([]string, len(reply))
	for i, part := range reply {
		s, ok := part.(string)
		if !ok {
			return nil, fmt.Errorf("invalidation: a reply with a part of type %T", part)
		}
		out[i] = s
	}
	return out, nil
}
