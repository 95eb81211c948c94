package inspect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/invalidation"
)

// holdersTime is what instances have to answer. One that is paused or cut off does not.
const holdersTime = 2 * time.Second

// Holders are the instances' local copies of a key.
type Holders struct {
	Asked     int      `json:"asked"` // instances whose subscription is up, as the server sees it
	Instances []Holder `json:"instances"`
}

// Holder is what one instance says.
type Holder struct {
	Instance string `json:"instance"` // as in the name of its echo channel
	State    string `json:"state"`    // of its subscription
	Held     bool   `json:"held"`
	Valid    bool   `json:"valid"`            // it would serve its copy now
	LeftMs   *int64 `json:"leftMs,omitempty"` // of the copy's life; absent: without end, or there is none
}

// AskHolders asks all instances whether they hold a local copy, and adds their answers to the finding.
func (f *Finding) AskHolders(ctx context.Context, rdb redis.UniversalClient, p Place) error {
	ctx, cancel := context.WithTimeout(ctx, holdersTime)
	defer cancel()
	told, asked, err := invalidation.FindCopies(ctx, rdb, p.Namespace, f.Lane.Index, invalidation.CopyQuery{Seed: p.seed(), Key: p.Key})
	if err != nil {
		if errors.Is(err, context.Canceled) {
			return err
		}
		return fmt.Errorf("inspect: who holds it: %w", err)
	}
	slices.SortFunc(told, func(a, b invalidation.CopyStatus) int { return cmp.Compare(a.Instance, b.Instance) })
	f.Holders = &Holders{Asked: asked, Instances: []Holder{}}
	for _, t := range told {
		h := Holder{Instance: fmt.Sprintf("%x", t.Instance), State: t.State.String(), Held: t.Present, Valid: t.Valid}
		if t.Present && t.TTL >= 0 {
			left := t.TTL.Milliseconds()
			h.LeftMs = &left
		}
		f.Holders.Instances = append(f.Holders.Instances, h)
	}
	return nil
}

func (h *Holders) lines(line func(name, format string, args ...any)) {
	held := 0
	for _, i := range h.Instances {
		if i.Held {
			held++
		}
	}
	line("local copies", "%d; %d of %d instances answered", held, len(h.Instances), h.Asked)
	for _, i := range h.Instances {
		switch {
		case !i.Held:
			line("  "+i.Instance, "none; %s", i.State)
		case i.LeftMs == nil:
			line("  "+i.Instance, "held, %s; %s", serves(i.Valid), i.State)
		default:
			line("  "+i.Instance, "held, %s, %s left; %s", serves(i.Valid), millis(*i.LeftMs), i.State)
		}
	}
}

func serves(valid bool) string {
	if valid {
		return "would be served"
	}
	return "is not served"
}
