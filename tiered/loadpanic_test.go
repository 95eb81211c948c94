package tiered_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/doppio-cache/doppio/tiered"
)

// explosive is an error whose methods panic.
type explosive struct{}

func (explosive) Error() string { return "explosive" }
func (explosive) Is(error) bool { panic("a user's bug") }

// Where the load of one key panics while another key of the call waits for another instance, each
// caller gets one result, and nothing is left that waits.
func TestGetOrSetMany_panicWhileAKeyWaitsEndsBothKeysOnce(t *testing.T) {
	t.Parallel()
	_, clients, caches := fleet[string](t, 2, tiered.CacheOptions{})
	for round := range 20 {
		busy, free := fmt.Sprint("busy", round), fmt.Sprint("free", round)
		holding, release := make(chan struct{}), make(chan struct{})
		other := async(func() (string, error) {
			return caches[1].GetOrSet(t.Context(), busy, func(context.Context) (string, error) {
				close(holding)
				<-release
				return "v", nil
			})
		})
		await(t, "the other instance has the lease", holding)
		before := clients[0].Stats().Panics
		_, err := caches[0].GetOrSetMany(t.Context(), []string{busy, free}, func(_ context.Context, missing []string) (map[string]string, error) {
			eventually(t, "a key waits", func() bool { return clients[0].Waiting() > 0 })
			close(release) // the wait and the panic end at the same time
			return nil, explosive{}
		})
		var panicked *tiered.PanicError
		if !errors.As(err, &panicked) {
			t.Fatalf("err = %v, want a panic", err)
		}
		if n := clients[0].Stats().Panics - before; n != 1 {
			t.Fatalf("%d panics, want the error's", n)
		}
		if r := receive(t, "the other instance's caller", other); r.err != nil || r.v != "v" {
			t.Fatalf("%q, %v", r.v, r.err)
		}
	}
	if n := clients[0].Waiting(); n != 0 {
		t.Errorf("%d waits are left", n)
	}
}
