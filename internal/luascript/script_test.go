package luascript

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// sent counts the commands that a client sends, by name.
type sent map[string]int

func (s sent) DialHook(next redis.DialHook) redis.DialHook { return next }

func (s sent) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		s[cmd.Name()]++
		return next(ctx, cmd)
	}
}

func (s sent) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, c := range cmds {
			s[c.Name()]++
		}
		return next(ctx, cmds)
	}
}

func newClient(t *testing.T) (*redis.Client, sent) {
	rdb := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr(), Protocol: 2})
	t.Cleanup(func() { _ = rdb.Close() })
	counts := sent{}
	rdb.AddHook(counts)
	return rdb, counts
}

func TestRun_sendsAScriptWholeOnce(t *testing.T) {
	rdb, counts := newClient(t)
	s := New("return {KEYS[1], ARGV[1]}")
	for range 2 {
		got, err := s.Run(t.Context(), rdb, []string{"k"}, "a")
		if list, _ := got.([]any); err != nil || !slices.Equal(list, []any{"k", "a"}) {
			t.Errorf("%v, %v", got, err)
		}
	}
	if counts["evalsha"] != 2 || counts["eval"] != 1 {
		t.Errorf("%v: the script is sent whole once", counts)
	}
}

func TestPipeline_keepsTheResultOfEachCall(t *testing.T) {
	rdb, counts := newClient(t)
	s := New("if ARGV[1] == 'no' then return redis.error_reply('NO it fails') end return ARGV[1]")
	calls := make([]Call, 10)
	for i := range calls {
		calls[i] = Call{Keys: []string{"k"}, Args: []any{"yes"}}
	}
	calls[7].Args[0] = "no"
	for i, c := range s.Pipeline(t.Context(), rdb, calls) {
		if got, err := c.Text(); (i == 7) != (err != nil) || i != 7 && got != "yes" {
			t.Errorf("call %d: %q, %v", i, got, err)
		}
	}
	if counts["eval"] != 1 {
		t.Errorf("%v: the script is sent whole once", counts)
	}
}

// gate is a context that refuses to send.
type gate struct {
	context.Context
	err error
}

func (g gate) BeforeSend() error { return g.err }

func TestGate_refusesACommandBeforeItIsSent(t *testing.T) {
	rdb, _ := newClient(t)
	s := New("return redis.call('INCR', KEYS[1])")
	refused := errors.New("refused")
	if _, err := s.Run(gate{t.Context(), refused}, rdb, []string{"n"}); !errors.Is(err, refused) {
		t.Errorf("error %v", err)
	}
	n, err := s.Run(gate{t.Context(), nil}, rdb, []string{"n"})
	if n != int64(1) || err != nil {
		t.Errorf("%v, %v: the refused command was sent", n, err)
	}
}
