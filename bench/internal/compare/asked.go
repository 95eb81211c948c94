package compare

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// readsAsked are how many reads a server has answered: every subject here reads by GET. The process that measures memory has
// no session to ask.
func readsAsked(client *redis.Client) func(ctx context.Context) (float64, error) {
	return func(ctx context.Context) (float64, error) {
		text, err := client.Info(ctx, "commandstats").Result()
		if err != nil {
			return 0, fmt.Errorf("count reads: %w", err)
		}
		return getCalls(text)
	}
}

// getCalls finds the calls of GET among the lines of INFO commandstats: none, if there were none.
func getCalls(info string) (float64, error) {
	for line := range strings.Lines(info) {
		if rest, ok := strings.CutPrefix(line, "cmdstat_get:calls="); ok {
			calls, _, _ := strings.Cut(rest, ",")
			n, err := strconv.ParseFloat(calls, 64)
			if err != nil {
				return 0, fmt.Errorf("count reads: %w", err)
			}
			return n, nil
		}
	}
	return 0, nil
}
