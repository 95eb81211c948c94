package inspect

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/remote"
)

const (
	// What is read of a record without its parser: see docs/architecture.md.
	offVersion  = 41
	offFlags    = 42
	flagAwaited = 1 << 2 // in a lease, set by scripts only
	headerSize  = 51
	lastKind    = 5 // of a record whose first bytes this version understands; those above KindNegative are for later versions

	allCaches = "*" // the floor of all caches
)

// Look looks at one entry. An error says that Redis could not be asked; everything else is a finding.
func Look(ctx context.Context, rdb redis.UniversalClient, p Place, showValue bool) (*Finding, error) {
	if err := p.validate(); err != nil {
		return nil, err
	}
	key := p.remoteKey()
	f := &Finding{Key: key, Cache: p.Cache, Hash: fmt.Sprintf("%016x", p.hash())}
	floor, err := f.look(ctx, rdb, p)
	if err != nil {
		return nil, fmt.Errorf("inspect: lane: %w", err)
	}
	raw, err := rdb.Get(ctx, key).Bytes()
	switch {
	case errors.Is(err, redis.Nil):
		f.Verdict, f.Why = Absent, "Redis has nothing under this key"
		return f, nil
	case redis.HasErrorPrefix(err, "WRONGTYPE"):
		f.Verdict = WrongType
		if f.Type, err = rdb.Type(ctx, key).Result(); err != nil {
			return nil, fmt.Errorf("inspect: type: %w", err)
		}
		f.Why = "a " + f.Type + ", where records are strings: somebody else wrote it"
		return f, nil
	case err != nil:
		return nil, fmt.Errorf("inspect: %w", err)
	}
	f.Bytes = len(raw)
	left, err := rdb.PTTL(ctx, key).Result()
	if err != nil {
		return nil, fmt.Errorf("inspect: pttl: %w", err)
	}
	if left >= 0 {
		ms := left.Milliseconds()
		f.PTTLms = &ms
	}
	if n, err := rdb.MemoryUsage(ctx, key).Result(); err == nil { // not everywhere known, and not to everybody allowed
		f.MemoryBytes = &n
	}
	r, err := remote.ParseRecord(key, raw)
	if len(raw) >= headerSize && raw[0] >= byte(remote.KindLease) && raw[0] <= lastKind {
		version := int(raw[offVersion])
		f.Version = &version
	}
	if err != nil {
		f.unreadable(raw, err)
		return f, nil
	}
	if err := f.judge(ctx, rdb, p, r, raw, floor, showValue); err != nil {
		return nil, err
	}
	return f, nil
}

// unreadable says what is there instead of a record that can be read.
func (f *Finding) unreadable(raw []byte, err error) {
	var later *remote.UnknownVersionError
	f.Why = strings.TrimPrefix(err.Error(), remote.ErrMalformed.Error()+": ")
	switch {
	case errors.As(err, &later):
		f.Verdict, f.Why = UnknownVersion, fmt.Sprintf("a record of version %d, which this tool does not read: a later library wrote it", later.Version)
	case f.Version != nil && *f.Version == 1 && raw[0] <= byte(remote.KindNegative):
		f.Verdict = Malformed
	default:
		f.Verdict = Foreign
		f.Why += "; it is no record of this library"
	}
}

// judge decodes a record, and says whether an instance would use it.
func (f *Finding) judge(ctx context.Context, rdb redis.UniversalClient, p Place, r remote.Record, raw []byte, floor lane.ID, showValue bool) error {
	now := time.Now()
	stamp := lane.ID(r.Stamp)
	left, _ := r.Remaining(now)
	f.Record = &Record{
		Token: short(r.Token[:]), Stamp: stamp.String(), StampAt: time.UnixMilli(stamp.UnixMilli()).UTC(), Created: r.Created.UTC(),
		AgeMs: now.Sub(r.Created).Milliseconds(), TTLms: r.TTL.Milliseconds(), LeftMs: left.Milliseconds(), GraceMs: r.Grace.Milliseconds(),
		LoadMs: r.LoadTime.Milliseconds(), Number: r.Number,
	}
	switch r.Kind {
	case remote.KindLease:
		f.Record.Kind = "lease"
		f.Record.Lease = &Lease{Holder: short(r.Token[:]), Since: r.Created.UTC(), Awaited: raw[offFlags]&flagAwaited != 0}
		if f.PTTLms != nil {
			f.Record.Lease.LeftMs = *f.PTTLms
		}
	case remote.KindNegative:
		f.Record.Kind = "negative"
	default:
		f.Record.Kind = "value"
		f.Record.Payload = payloadOf(f.Key, r.Payload, r.Number, showValue)
	}
	void, err := f.tags(ctx, rdb, p, r.Tags)
	if err != nil {
		return fmt.Errorf("inspect: tags: %w", err)
	}
	switch {
	case stamp < floor:
		f.Verdict = Invalidated
		f.Why = fmt.Sprintf("its stamp is below the cache's floor %s: it is from before a Clear, or before Redis lost its memory", floor)
	case void != "":
		f.Verdict, f.Why = Invalidated, void
	case f.Record.Payload != nil && f.Record.Payload.Fault != "":
		f.Verdict, f.Why = Malformed, f.Record.Payload.Fault
	case r.Kind != remote.KindLease && r.Expired(now):
		f.Verdict, f.Why = Expired, "its TTL is over"
		if r.Kind == remote.KindValue && now.Before(r.Created.Add(r.TTL+r.Grace)) {
			f.Why += "; within its grace it may serve where a load fails"
		}
	default:
		f.Verdict = Valid
	}
	return nil
}

// tags looks whether the versions that a record carries are those of now, and says which is not.
func (f *Finding) tags(ctx context.Context, rdb redis.UniversalClient, p Place, tags []remote.Tag) (void string, err error) {
	if len(tags) == 0 {
		return "", nil
	}
	cmds, err := rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for _, t := range tags {
			pipe.Get(ctx, p.tagKey(t.Name))
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return "", err
	}
	for i, t := range tags {
		got, err := cmds[i].(*redis.StringCmd).Bytes()
		if err != nil && !errors.Is(err, redis.Nil) {
			return "", err
		}
		out := Tag{Name: t.Name, Version: short(t.Version[:]), Current: string(got) == string(t.Version[:])}
		if err == nil {
			out.Now = short(got)
		}
		if !out.Current && void == "" {
			void = fmt.Sprintf("the tag %q was invalidated since, or Redis lost its version", t.Name)
		}
		f.Record.Tags = append(f.Record.Tags, out)
	}
	return void, nil
}
