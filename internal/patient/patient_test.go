package patient_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/patient"
)

// A client that waits for ever is bounded; any other keeps the timeouts that its owner gave it.
func TestBound_limitsAClientThatWaitsForEver(t *testing.T) {
	t.Parallel()
	const bound = 3 * time.Second
	for name, tt := range map[string]struct {
		read, write time.Duration
		bounded     bool
	}{
		"defaults":              {0, 0, false},
		"short timeouts":        {time.Second, time.Second, false},
		"long timeouts":         {time.Minute, time.Minute, false},
		"no read timeout":       {-1, time.Second, true},
		"no write timeout":      {time.Second, -1, true},
		"no timeout":            {-1, -1, true},
		"no deadline for reads": {-2, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", ReadTimeout: tt.read, WriteTimeout: tt.write})
			t.Cleanup(func() { _ = rdb.Close() })
			was := *rdb.Options()
			got, ok := patient.Bound(rdb, bound).(*redis.Client)
			switch {
			case !ok:
				t.Fatalf("a %T", patient.Bound(rdb, bound))
			case !tt.bounded && got != rdb:
				t.Error("it is another client")
			case tt.bounded && (got.Options().ReadTimeout != bound || got.Options().WriteTimeout != bound):
				t.Errorf("it waits %v for a read and %v for a write", got.Options().ReadTimeout, got.Options().WriteTimeout)
			}
			if o := rdb.Options(); o.ReadTimeout != was.ReadTimeout || o.WriteTimeout != was.WriteTimeout {
				t.Errorf("the owner's client waits %v and %v now", o.ReadTimeout, o.WriteTimeout)
			}
		})
	}
}

// A client that is not of one server is given back as it is, and so is a client that is nil.
func TestBound_leavesOtherClientsAlone(t *testing.T) {
	t.Parallel()
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}, ReadTimeout: -1})
	t.Cleanup(func() { _ = cluster.Close() })
	if got := patient.Bound(cluster, time.Second); got != redis.UniversalClient(cluster) {
		t.Errorf("a Cluster's client became a %T", got)
	}
	var none *redis.Client
	if got := patient.Bound(none, time.Second); got != redis.UniversalClient(none) {
		t.Errorf("a nil client became a %T", got)
	}
	if got := patient.Bound(nil, time.Second); got != nil {
		t.Errorf("nil became a %T", got)
	}
}
