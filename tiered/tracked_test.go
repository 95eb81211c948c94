package tiered_test

import (
	"context"
	"errors"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/tiered"
)

// With tracking, changes that others make to Redis behind the library's back drop local copies.
func TestTracking_hearsOfChangesBehindTheLibrarysBack(t *testing.T) {
	t.Parallel()
	client := coherent(t, shared.Client(t), tiered.Options{Tracking: true})
	c := newCache[string](t, client, "c", tiered.CacheOptions{})
	ns, rdb := tiered.NamespaceOf(c), shared.Client(t)
	eventually(t, "Redis tells of changes", func() bool { return client.Stats().Drops["tracking"] > 0 })
	readLocal := func() bool {
		hits := client.Stats().LocalHits
		_, _ = c.Get(t.Context(), "k:with:colons")
		return client.Stats().LocalHits > hits
	}
	for name, change := range map[string]func(ctx context.Context) error{
		"DEL": func(ctx context.Context) error { return rdb.Del(ctx, ns+":c:k:with:colons").Err() },
		"SET": func(ctx context.Context) error {
			return rdb.Set(ctx, ns+":c:k:with:colons", "what is no record", 0).Err()
		},
		"RENAME": func(ctx context.Context) error {
			return rdb.Rename(ctx, ns+":c:k:with:colons", ns+":elsewhere").Err()
		},
		"DEL of a tag": func(ctx context.Context) error { return rdb.Del(ctx, ns+"::tag:c:t:a:g").Err() },
	} {
		check(t, c.Set(t.Context(), "k:with:colons", "v", tiered.Tags("t:a:g")))
		// The notice of the own Set comes as well, and drops the copy that it left.
		eventually(t, "it is local", func() bool { wantGet(t, c, "k:with:colons", "v"); return readLocal() })
		told := client.Stats().Tracked
		check(t, change(t.Context()))
		eventually(t, name+" is noticed", func() bool {
			_, err := c.Get(t.Context(), "k:with:colons")
			var decode *tiered.DecodeError
			return errors.Is(err, tiered.ErrNotFound) || errors.As(err, &decode)
		})
		if client.Stats().Tracked == told {
			t.Errorf("%s: no key is counted", name)
		}
	}
}

// Without tracking they do not: the test above would see nothing.
func TestTracking_isNeededToHearOfSuchChanges(t *testing.T) {
	t.Parallel()
	client, c := one[string](t, tiered.CacheOptions{})
	check(t, c.Set(t.Context(), "k", "v"))
	check(t, shared.Client(t).Del(t.Context(), tiered.NamespaceOf(c)+":c:k").Err())
	wantGet(t, c, "k", "v")
	if n := client.Stats().Tracked; n != 0 {
		t.Errorf("%d keys tracked", n)
	}
}

// Tracking is not to be had on a Cluster.
func TestTracking_isRefusedOnACluster(t *testing.T) {
	t.Parallel()
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{shared.Addr}})
	defer rdb.Close()
	client, err := tiered.New(rdb, tiered.Options{Tracking: true, Namespace: namespace(t)})
	var option *tiered.OptionError
	if client != nil || !errors.As(err, &option) || option.Field != "Tracking" {
		t.Errorf("New = %v, %v", client, err)
	}
}
