package invalidation

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
)

//go:embed script/probe.lua
var probeSource string

//go:embed script/replay.lua
var replaySource string

var (
	scriptProbe  = newScript(probeSource)
	scriptReplay = newScript(replaySource)
)

type script struct{ source, sha string }

func newScript(source string) script {
	source = lane.Script + source
	return script{source: source, sha: redis.NewScript(source).Hash()}
}

// noRetryCmd is a command that go-redis does not repeat. The reply to a late probe is worth
// nothing, and Close waits for it.
type noRetryCmd struct{ *redis.Cmd }

// NoRetry tells go-redis not to repeat the command.
func (noRetryCmd) NoRetry() bool { return true }

// run runs the script, which replies with a list.
func (s script) run(ctx context.Context, rdb redis.UniversalClient, keys []string, args ...any) ([]any, error) {
	c := s.cmd(ctx, "evalsha", s.sha, keys, args)
	_ = rdb.Process(ctx, c) // the command keeps its error
	if err := c.Err(); err != nil && redis.HasErrorPrefix(err, "NOSCRIPT") {
		c = s.cmd(ctx, "eval", s.source, keys, args)
		_ = rdb.Process(ctx, c)
	}
	return c.Slice()
}

func (s script) cmd(ctx context.Context, command, script string, keys []string, args []any) noRetryCmd {
	all := make([]any, 0, 3+len(keys)+len(args))
	all = append(all, command, script, len(keys))
	for _, k := range keys {
		all = append(all, k)
	}
	c := redis.NewCmd(ctx, append(all, args...)...)
	c.SetFirstKeyPos(3)
	return noRetryCmd{c}
}

// stringPairs converts a list inside a reply, of an even length, to strings.
func stringPairs(part any) ([]string, error) {
	list, ok := part.([]any)
	if !ok || len(list)%2 != 0 {
		return nil, fmt.Errorf("invalidation: a reply with %d parts of type %T, want pairs", len(list), part)
	}
	return stringList(list, 0)
}

// stringList converts a reply of at least so many parts to strings.
func stringList(reply []any, atLeast int) ([]string, error) {
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
