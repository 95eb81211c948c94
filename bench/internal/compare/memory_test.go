package compare

import (
	"context"
	"testing"

	"github.com/doppio-cache/doppio/internal/redistest"
)

// TestNoChildLeavesItsEntriesToTheNext: progress is told when a child is done.
func TestNoChildLeavesItsEntriesToTheNext(t *testing.T) {
	t.Setenv("GORACE", "atexit_sleep_ms=0")
	srv := redistest.Start(t)
	client := srv.Client(t)
	o := tiny(t)
	o.Redis, o.Only, o.Subjects = "redis://"+srv.Addr, []string{"memory"}, []string{"doppio", "go-redis/cache", "by hand"}
	told := 0
	o.Progress = func(float64, string) {
		told++
		if left := client.DBSize(context.Background()).Val(); left != 0 {
			t.Errorf("Redis has %d keys", left)
		}
	}
	got, err := Run(t.Context(), o)
	if err != nil || len(got.Rows) != 1 || told < 4 {
		t.Fatalf("%+v, %v, told %d times", got, err, told)
	}
	for _, name := range o.Subjects {
		if c := got.Rows[0].Cell(name); c == nil || c.Missing != "" || c.Value.N != 1 {
			t.Errorf("%s: %+v", name, c)
		}
	}
}
