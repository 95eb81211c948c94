package conformance

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/doppio-cache/doppio/internal/redistest"
	"github.com/doppio-cache/doppio/remote"
	"github.com/doppio-cache/doppio/tiered"
)

// state is what an operation may find under its key, and what it must make of it.
type state struct {
	name    string
	prepare func(t *testing.T, e *env, w *tiered.Cache[int64], key string)
	want    map[string]outcome // by operation
	options tiered.CacheOptions
}

// outcome is an answer, or an error, and what the remote tier holds afterwards.
type outcome struct {
	answer any
	err    error
	remote string
	// unfilled: the answer was loaded, may be kept locally, and must not be stored remote.
	unfilled bool
	// unreadable: what the remote tier holds is no entry for Get.
	unreadable bool
	// onCluster is the outcome where keys are read one by one instead of by MGET.
	onCluster *outcome
}

func stateRows() []row {
	var rows []row
	for _, s := range states {
		rows = append(rows, each("state/"+s.name, func(t *testing.T, e *env, p probe) { inState(t, e, p, s, "key") })...)
	}
	return rows
}

func inState(t *testing.T, e *env, p probe, s *state, key string) {
	t.Helper()
	w, r := pair[int64](t, e, s.options)
	s.prepare(t, e, w, key)
	o, ok := s.want[p.op]
	if !ok {
		t.Fatalf("state %q says nothing about %s", s.name, p.op)
	}
	if e.target.cluster && o.onCluster != nil {
		o = *o.onCluster
	}
	got, err := p.do(t.Context(), r, key)
	if o.err != nil {
		wantErr(t, err, o.err)
	} else {
		want(t, o.answer)(got, err)
	}
	if remote := e.stored(t, key); remote != o.remote {
		t.Fatalf("the remote tier holds %.80q, want %q", remote, o.remote)
	}
	if o.unfilled {
		return
	}
	// Both instances agree with the remote tier: the one that did it at once, the other when it has heard.
	v, err := readOf(o.remote)
	if o.unreadable {
		v, err = 0, tiered.ErrNotFound
	}
	finds(t, r, key, v, err)
	sees(t, w, key, v, err)
}

// readOf is what Get makes of what the remote tier holds.
func readOf(remote string) (int64, error) {
	switch remote {
	case "gone", "lease", "negative", "expired", "later":
		return 0, tiered.ErrNotFound
	case "list":
		return 0, tiered.ErrWrongType
	case "envelope", "hello":
		return 0, errDecode
	}
	var v int64
	_, err := fmt.Sscan(remote, &v)
	return v, err
}

var states = []*state{&missing, &present, &endless, &expired, &inGrace, &negative, &leased, &tagless, &list, &foreign, &otherType, &later}

var missing = state{
	name:    "missing",
	prepare: func(*testing.T, *env, *tiered.Cache[int64], string) {},
	want:    likeMissing("gone"),
}

// likeMissing are the outcomes where there is no entry; remote is what operations leave alone that change nothing.
func likeMissing(remote string) map[string]outcome {
	return map[string]outcome{
		"Get":            {err: tiered.ErrNotFound, remote: remote},
		"GetMany":        {answer: "absent", remote: remote},
		"GetOrSet":       {answer: newValue, remote: "9"},
		"GetOrSetMany":   {answer: newValue, remote: "9"},
		"GetOrSetValue":  {answer: newValue, remote: "9"},
		"Set":            {remote: "9"},
		"SetMany":        {answer: 1, remote: "9"},
		"SetIfAbsent":    {answer: true, remote: "9"},
		"Delete":         {answer: false, remote: "gone"},
		"DeleteMany":     {answer: 0, remote: "gone"},
		"Exists":         {answer: false, remote: remote},
		"ExistsMany":     {answer: false, remote: remote},
		"Clear":          {answer: 0, remote: "gone"},
		"Count":          {answer: 0, remote: remote},
		"Increment":      {answer: delta, remote: "2"},
		"TTL":            {err: tiered.ErrNotFound, remote: remote},
		"Expire":         {answer: false, remote: remote},
		"InvalidateTags": {remote: remote},
	}
}

var present = state{
	name: "present",
	prepare: func(t *testing.T, _ *env, w *tiered.Cache[int64], key string) {
		check(t, w.Set(t.Context(), key, oldValue))
	},
	want: likePresent("a while"),
}

var endless = state{
	name: "without end",
	prepare: func(t *testing.T, _ *env, w *tiered.Cache[int64], key string) {
		check(t, w.Set(t.Context(), key, oldValue, tiered.TTL(tiered.NoExpiration)))
	},
	want: likePresent("for ever"),
}

func likePresent(ttl string) map[string]outcome {
	return map[string]outcome{
		"Get":            {answer: oldValue, remote: "7"},
		"GetMany":        {answer: oldValue, remote: "7"},
		"GetOrSet":       {answer: oldValue, remote: "7"},
		"GetOrSetMany":   {answer: oldValue, remote: "7"},
		"GetOrSetValue":  {answer: oldValue, remote: "7"},
		"Set":            {remote: "9"},
		"SetMany":        {answer: 1, remote: "9"},
		"SetIfAbsent":    {answer: false, remote: "7"},
		"Delete":         {answer: true, remote: "gone"},
		"DeleteMany":     {answer: 1, remote: "gone"},
		"Exists":         {answer: true, remote: "7"},
		"ExistsMany":     {answer: true, remote: "7"},
		"Clear":          {answer: 1, remote: "gone"},
		"Count":          {answer: 1, remote: "7"},
		"Increment":      {answer: oldValue + delta, remote: "9"},
		"TTL":            {answer: ttl, remote: "7"},
		"Expire":         {answer: true, remote: "7"},
		"InvalidateTags": {remote: "7"},
	}
}

// expired: Redis has removed it.
var expired = state{
	name: "expired",
	prepare: func(t *testing.T, e *env, w *tiered.Cache[int64], key string) {
		check(t, w.Set(t.Context(), key, oldValue, tiered.TTL(time.Millisecond)))
		e.becomes(t, key, "gone")
		sees(t, w, key, 0, tiered.ErrNotFound) // the local copy's clock is finer than the record's
	},
	want: likeMissing("gone"),
}

// inGrace: past its life, and kept for when a load fails.
var inGrace = state{
	name: "past its life, in its grace",
	prepare: func(t *testing.T, e *env, w *tiered.Cache[int64], key string) {
		check(t, w.Set(t.Context(), key, oldValue, tiered.TTL(time.Millisecond), tiered.FailSafe(time.Hour)))
		e.becomes(t, key, "expired")
		// Scripts go by what Redis has left for the key, which it rounds to milliseconds.
		redistest.Eventually(t, patience, func() error {
			left, err := e.raw.PTTL(t.Context(), e.remoteKey(key)).Result()
			if err == nil && left > time.Hour {
				err = fmt.Errorf("its TTL is not over: %v are left", left)
			}
			return err
		})
		sees(t, w, key, 0, tiered.ErrNotFound)
	},
	want: likeMissing("expired"),
}

func (e *env) becomes(t *testing.T, key, remote string) {
	t.Helper()
	redistest.Eventually(t, patience, func() error {
		if got := e.stored(t, key); got != remote {
			return fmt.Errorf("the remote tier holds %q", got)
		}
		return nil
	})
}

// negative: a loader said that there is no such thing. Loads are spared, everything else finds no entry.
var negative = state{
	name: "negative",
	prepare: func(t *testing.T, _ *env, w *tiered.Cache[int64], key string) {
		_, err := w.GetOrSet(t.Context(), key, func(context.Context) (int64, error) { return 0, tiered.ErrNotFound },
			tiered.NegativeTTL(time.Hour))
		wantErr(t, err, tiered.ErrNotFound)
	},
	want: except(likeMissing("negative"), map[string]outcome{
		"GetOrSet":     {err: tiered.ErrNotFound, remote: "negative"},
		"GetOrSetMany": {answer: "absent", remote: "negative"},
	}),
}

// leased: another instance is loading. A reader waits for as long as a load may take, then loads for itself and leaves the
// lease; a writer replaces it.
var leased = state{
	name:    "leased",
	options: tiered.CacheOptions{HardTimeout: time.Second},
	prepare: func(t *testing.T, e *env, _ *tiered.Cache[int64], key string) {
		e.putRecord(t, key, nil, remote.Record{Kind: remote.KindLease, TTL: time.Hour, Stamp: math.MaxUint64}) // newer than any Clear
	},
	want: except(likeMissing("lease"), map[string]outcome{
		"GetOrSet":     {answer: newValue, remote: "lease", unfilled: true},
		"GetOrSetMany": {answer: newValue, remote: "lease", unfilled: true},
	}),
}

// tagless: a tag of the entry was invalidated. No operation finds an entry, but for those that look at keys alone:
// Count, the bool of Delete and the numbers of DeleteMany and Clear take in the record, which stays until it is
// replaced or ends.
var tagless = state{
	name: "its tag invalidated",
	prepare: func(t *testing.T, _ *env, w *tiered.Cache[int64], key string) {
		check(t, w.Set(t.Context(), key, oldValue, tiered.Tags("t")))
		check(t, w.InvalidateTags(t.Context(), "t"))
	},
	want: except(likeMissing("7"), map[string]outcome{
		"Get":            {err: tiered.ErrNotFound, remote: "7", unreadable: true},
		"GetMany":        {answer: "absent", remote: "7", unreadable: true},
		"Delete":         {answer: true, remote: "gone"},
		"DeleteMany":     {answer: 1, remote: "gone"},
		"Exists":         {answer: false, remote: "7", unreadable: true},
		"ExistsMany":     {answer: false, remote: "7", unreadable: true},
		"Clear":          {answer: 1, remote: "gone"},
		"Count":          {answer: 1, remote: "7", unreadable: true},
		"TTL":            {err: tiered.ErrNotFound, remote: "7", unreadable: true},
		"Expire":         {answer: false, remote: "7", unreadable: true},
		"InvalidateTags": {remote: "7", unreadable: true},
	}),
}

// putRecord stores a record past the library.
func (e *env) putRecord(t *testing.T, key string, change func([]byte), r remote.Record) {
	t.Helper()
	r.Token, r.Created = remote.NewToken(), time.Now()
	data, err := remote.AppendRecord(nil, e.remoteKey(key), &r)
	check(t, err)
	if change != nil {
		change(data)
	}
	check(t, e.raw.Set(t.Context(), e.remoteKey(key), data, 0).Err())
}

// list: another application's list under our key. It is an entry that cannot be read. Loads do not touch it; a Set or a
// Delete, which say what shall be there, do.
var list = state{
	name: "a list",
	prepare: func(t *testing.T, e *env, _ *tiered.Cache[int64], key string) {
		check(t, e.raw.RPush(t.Context(), e.remoteKey(key), "a", "b").Err())
	},
	want: map[string]outcome{
		"Get": {err: tiered.ErrWrongType, remote: "list"},
		// MGET has no way to say it.
		"GetMany":        {answer: "absent", remote: "list", onCluster: &outcome{err: tiered.ErrWrongType, remote: "list"}},
		"GetOrSet":       {answer: newValue, remote: "list", unfilled: true},
		"GetOrSetMany":   {answer: newValue, remote: "list", unfilled: true},
		"GetOrSetValue":  {err: tiered.ErrWrongType, remote: "list"},
		"Set":            {remote: "9"},
		"SetMany":        {answer: 1, remote: "9"},
		"SetIfAbsent":    {err: tiered.ErrWrongType, remote: "list"},
		"Delete":         {answer: true, remote: "gone"},
		"DeleteMany":     {answer: 1, remote: "gone"},
		"Exists":         {answer: true, remote: "list"},
		"ExistsMany":     {answer: true, remote: "list"},
		"Clear":          {answer: 1, remote: "gone"},
		"Count":          {answer: 1, remote: "list"},
		"Increment":      {err: tiered.ErrWrongType, remote: "list"},
		"TTL":            {err: tiered.ErrWrongType, remote: "list"},
		"Expire":         {err: tiered.ErrWrongType, remote: "list"},
		"InvalidateTags": {remote: "list"},
	},
}

// foreign: another application's string under our key.
var foreign = state{
	name: "a foreign string",
	prepare: func(t *testing.T, e *env, _ *tiered.Cache[int64], key string) {
		check(t, e.raw.Set(t.Context(), e.remoteKey(key), "hello", 0).Err())
	},
	want: likeUnreadable("hello", "for ever"),
}

// otherType: the value of another type, written by an instance that has the cache with it.
var otherType = state{
	name: "a value of another type",
	prepare: func(t *testing.T, e *env, _ *tiered.Cache[int64], key string) {
		check(t, cache[string](t, e.stranger, e.name).Set(t.Context(), key, "text"))
	},
	want: likeUnreadable("envelope", "a while"),
}

// likeUnreadable: there is an entry, no value can be made of it, and a load replaces it.
func likeUnreadable(remote, ttl string) map[string]outcome {
	return map[string]outcome{
		"Get":            {err: errDecode, remote: remote},
		"GetMany":        {err: errDecode, remote: remote},
		"GetOrSet":       {answer: newValue, remote: "9"},
		"GetOrSetMany":   {answer: newValue, remote: "9"},
		"GetOrSetValue":  {err: errDecode, remote: remote},
		"Set":            {remote: "9"},
		"SetMany":        {answer: 1, remote: "9"},
		"SetIfAbsent":    {answer: false, remote: remote},
		"Delete":         {answer: true, remote: "gone"},
		"DeleteMany":     {answer: 1, remote: "gone"},
		"Exists":         {answer: true, remote: remote},
		"ExistsMany":     {answer: true, remote: remote},
		"Clear":          {answer: 1, remote: "gone"},
		"Count":          {answer: 1, remote: remote},
		"Increment":      {err: tiered.ErrNotNumeric, remote: remote},
		"TTL":            {answer: ttl, remote: remote},
		"Expire":         {answer: true, remote: remote},
		"InvalidateTags": {remote: remote},
	}
}

// later: a record of a version to come. A read takes it for a miss, and fills leave it alone.
var later = state{
	name: "a record of a later version",
	prepare: func(t *testing.T, e *env, _ *tiered.Cache[int64], key string) {
		const version = 41 // offset, see docs/architecture.md
		e.putRecord(t, key, func(data []byte) { data[version]++ }, remote.Record{Kind: remote.KindValue, Number: true, Payload: []byte("7")})
	},
	want: except(likeUnreadable("later", "for ever"), map[string]outcome{
		"Get":           {err: tiered.ErrNotFound, remote: "later"},
		"GetMany":       {answer: "absent", remote: "later"},
		"GetOrSet":      {answer: newValue, remote: "later", unfilled: true},
		"GetOrSetMany":  {answer: newValue, remote: "later", unfilled: true},
		"GetOrSetValue": {err: errDecode, remote: "later"}, // it is not to be replaced, and cannot be read
	}),
}

func except(base, changes map[string]outcome) map[string]outcome {
	for op, o := range changes {
		base[op] = o
	}
	return base
}
