package invalidation

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/luascript"
)

//go:embed script/probe.lua
var probeSource string

//go:embed script/replay.lua
var replaySource string

var (
	scriptProbe  = luascript.New(lane.Script + probeSource)
	scriptReplay = luascript.New(lane.Script + replaySource)
)

// runScript runs a script that replies with a list.
func runScript(ctx context.Context, rdb redis.UniversalClient, s luascript.Script, keys []string, args ...any) ([]any, error) {
	reply, err := s.Run(ctx, rdb, keys, args...)
	if err != nil {
		return nil, err
	}
	list, ok := reply.([]any)
	if !ok {
		return nil, fmt.Errorf("invalidation: a reply of type %T, want a list", reply)
	}
	return list, nil
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
