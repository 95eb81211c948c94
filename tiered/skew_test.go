package tiered_test

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/doppio-cache/doppio/tiered"
)

// An entry that Redis keeps is there for every instance, however far the date in the record is
// from the clock of the one that reads it.
func TestClocks_ofReadersDoNotDecideWhichEntriesExist(t *testing.T) {
	for _, skew := range []time.Duration{-24 * time.Hour, -6 * time.Second, 24 * time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			ns, _, caches := fleet[int64](t, 2, tiered.CacheOptions{TTL: time.Minute})
			a, b := caches[0], caches[1]
			patch := func(key string) {
				var date [8]byte
				binary.BigEndian.PutUint64(date[:], uint64(time.Now().Add(skew).UnixMilli()))
				check(t, shared.Client(t).SetRange(t.Context(), ns+":c:"+key, 25, string(date[:])).Err())
			}
			won, err := a.SetIfAbsent(t.Context(), "lock", 1)
			if !won || err != nil {
				t.Fatal(won, err)
			}
			patch("lock")
			if won, err := b.SetIfAbsent(t.Context(), "lock", 2); won || err != nil {
				t.Errorf("SetIfAbsent won twice: %t, %v", won, err)
			}
			_, err = a.Increment(t.Context(), "n", 30)
			check(t, err)
			patch("n")
			if n, err := b.Increment(t.Context(), "n", 1); n != 31 || err != nil {
				t.Errorf("Increment = %d, %v, want 31", n, err)
			}
			check(t, a.Set(t.Context(), "v", 5))
			patch("v")
			wantGet(t, b, "v", 5)
			if m, err := b.GetMany(t.Context(), []string{"v"}); m["v"] != 5 || err != nil {
				t.Errorf("GetMany = %v, %v", m, err)
			}
			if v, err := b.GetOrSet(t.Context(), "v", forbidden[int64](t)); v != 5 || err != nil {
				t.Errorf("GetOrSet = %d, %v", v, err)
			}
			if ok, err := b.Exists(t.Context(), "v"); !ok || err != nil {
				t.Errorf("Exists = %t, %v", ok, err)
			}
			if left, err := b.TTL(t.Context(), "v"); err != nil || left > time.Minute || left < 30*time.Second {
				t.Errorf("TTL = %v, %v", left, err)
			}
			if n, err := b.Count(t.Context(), ""); n != 3 || err != nil {
				t.Errorf("Count = %d, %v, want 3", n, err)
			}
			if ok, err := b.Delete(t.Context(), "v"); !ok || err != nil {
				t.Errorf("Delete = %t, %v", ok, err)
			}
		})
	}
}
