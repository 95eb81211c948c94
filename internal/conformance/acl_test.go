package conformance

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/redistest"
	"github.com/doppio-cache/doppio/local"
	"github.com/doppio-cache/doppio/tiered"
)

// Each of aclRules is needed, and aclAboveZero in a database above 0: without it some operation fails, or the
// subscription does. That together they are enough, the tour says for database 0, and the whole table for another one.
func TestACL_rulesAreEnoughAndEachIsNeeded(t *testing.T) {
	t.Parallel()
	d := secured.start()
	try := func(t *testing.T, db int, without string) error {
		t.Helper()
		ns := fmt.Sprintf("acl%d", unique.Add(1))
		limited := *d
		limited.connect = func(h redistest.Host, ns string) redis.UniversalClient {
			rules := slices.DeleteFunc(rulesFor(ns, db), func(r string) bool { return r == strings.ReplaceAll(without, "<ns>", ns) })
			return d.connectWith(h, ns, db, rules)
		}
		f := &fleet{deployment: &limited, target: &secured, engine: local.Ristretto}
		c := f.instance(t, ns, func(o *tiered.Options) { o.MaxStaleness = silence })
		check(t, d.raw.ScriptFlush(t.Context()).Err()) // so that scripts are sent whole
		return tour(t, c, func() error {
			return d.raw.Do(t.Context(), "CLIENT", "KILL", "USER", ns, "TYPE", "pubsub").Err()
		})
	}
	for _, db := range []int{0, securedDatabase} {
		t.Run(fmt.Sprintf("all in database %d", db), func(t *testing.T) {
			if err := try(t, db, ""); err != nil {
				t.Fatalf("the rules are not enough: %v", err)
			}
		})
	}
	needed := func(db int, rule string) {
		t.Run(fmt.Sprintf("without %s in database %d", rule, db), func(t *testing.T) {
			if err := try(t, db, rule); err == nil {
				t.Fatal("the rule is not needed")
			}
		})
	}
	for _, rule := range strings.Fields(aclRules) {
		if rule == "resetchannels" || rule == "-@all" {
			continue // they take away
		}
		needed(0, rule)
	}
	needed(securedDatabase, aclAboveZero)
}

// silence is after how long a subscription that does not answer is given up.
const silence = 2 * time.Second

// soon polls until what is true, and tells whether it became so in a time in which a subscription is made.
func soon(what func() bool) bool {
	for end := time.Now().Add(silence); time.Now().Before(end); time.Sleep(10 * time.Millisecond) { // poll
		if what() {
			return true
		}
	}
	return what()
}

// tour calls everything that the library offers, and gives what failed; cut ends its subscription.
func tour(t *testing.T, client *tiered.Client, cut func() error) error {
	t.Helper()
	c := cache[int64](t, client, fmt.Sprintf("c%d", unique.Add(1)))
	var errs []error
	note := func(what string, err error) {
		if err != nil && !errors.Is(err, tiered.ErrNotFound) {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
		}
	}
	ctx := t.Context()
	for _, key := range []string{"k", "l"} {
		for _, p := range slices.Concat(probes, probes) {
			_, err := p.do(ctx, c, key)
			note(p.op, err)
		}
		note("Set", c.Set(ctx, key, 1, tiered.Tags("t"), tiered.TTL(time.Minute)))
		note("Set", c.Set(ctx, key, 1, tiered.Tags("t"), tiered.TTL(time.Hour))) // a tag's life is made longer
		note("Set", c.Set(ctx, key, 1, tiered.Tags("t"), tiered.TTL(tiered.NoExpiration)))
		_, err := c.Expire(ctx, key, tiered.NoExpiration)
		note("Expire", err)
		sum, err := c.Increment(ctx, key, 1)
		if err == nil && sum != 2 {
			err = fmt.Errorf("sum %d", sum)
		}
		note("Increment", err)
		note("InvalidateTags", c.InvalidateTags(ctx, "t"))
		_, err = c.Delete(ctx, key)
		note("Delete", err)
	}
	_, err := c.Clear(ctx, "")
	note("Clear", err)
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	// What was announced is replayed to a subscription that was cut.
	coherent := func() bool { return client.Stats().Coherent }
	if !soon(coherent) {
		return errors.New("no subscription")
	}
	if err := cut(); err != nil {
		return err
	}
	if !soon(func() bool { return client.Stats().Subscriptions > 1 }) {
		return errors.New("no second subscription")
	}
	losses := client.Stats().Losses + client.Stats().SubscribeErrors
	// The subscription is up, and still is when one that does not answer would have been given up.
	began := time.Now()
	var lost error
	becomesTrue(t, func() bool {
		s := client.Stats()
		if s.SubscribeErrors+s.Losses > losses {
			lost = errors.New("the subscription was lost")
		}
		return lost != nil || s.Coherent && time.Since(began) > silence
	})
	return lost
}

func TestACL_rulesNameWhatTheyAllow(t *testing.T) {
	if strings.Contains(aclRules, "+@") || strings.Contains(aclRules, "~*") || strings.Contains(aclRules, "&*") {
		t.Fatal("a rule allows more than is needed")
	}
}
