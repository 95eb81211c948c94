package remote

import (
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Of many leases each is renewed, or given back, where it is held with its token; the result tells
// the others apart.
func TestRenewMany_renewsAndReleasesOnlyItsOwnLeases(t *testing.T) {
	for name, client := range map[string]func(t testing.TB) redis.UniversalClient{
		"one server": func(t testing.TB) redis.UniversalClient { fresh(t, shared.Client(t)); return shared.Client(t) },
		"Cluster":    func(t testing.TB) redis.UniversalClient { return onSharedCluster(t) },
	} {
		t.Run(name, func(t *testing.T) {
			rdb := client(t)
			s := newStore(t, rdb, func(o *Options) { o.BatchSize = 4 })
			keys := someKeys(t.Name(), 10)
			mine := make([]Lease, len(keys))
			for i, key := range keys {
				token := NewToken()
				mine[i] = Lease{Key: key, Token: token[:]}
				switch i {
				case 3:
					put(t, rdb, key, lease(Token{1})) // another's
				case 7: // nobody's
				default:
					put(t, rdb, key, lease(token))
				}
				must(t, rdb.PExpire(t.Context(), key, time.Minute).Err())
			}
			held, errs := s.RenewMany(t.Context(), mine, time.Hour)
			must(t, errors.Join(errs...))
			for i, key := range keys {
				left := rdb.PTTL(t.Context(), key).Val()
				if want := i != 3 && i != 7; held[i] != want || (left > time.Minute) != want {
					t.Errorf("lease %d: held %v and %v left, want held %v", i, held[i], left, want)
				}
			}
			for _, i := range []int{0, 9} { // somebody meets these
				if won, _, err := s.Acquire(t.Context(), LeaseRequest{Key: keys[i], Token: NewToken()}, time.Minute); won || err != nil {
					t.Fatalf("Acquire = %v, %v", won, err)
				}
			}
			awaited, errs := s.ReleaseMany(t.Context(), mine)
			must(t, errors.Join(errs...))
			for i, key := range keys {
				there := rdb.Exists(t.Context(), key).Val() > 0
				if awaited[i] != (i == 0 || i == 9) || there != (i == 3) {
					t.Errorf("lease %d: awaited %v, there %v", i, awaited[i], there)
				}
			}
		})
	}
}
