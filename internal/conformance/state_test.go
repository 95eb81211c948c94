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

// outcome is an answer, or an error, and what the far tier holds afterwards.
type outcome struct {
	answer any
	err    error
	far    string
	// unfilled: the answer was loaded, may be kept near, and must not be stored far.
	unfilled bool
	// unreadable: what the far tier holds is no entry for Get.
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
	if far := e.stored(t, key); far != o.far {
		t.Fatalf("the far tier holds %.80q, want %q", far, o.far)
	}
	if o.unfilled {
		return
	}
	// Both instances agree with the far tier: the one that did it at once, the other when it has heard.
	v, err := readOf(o.far)
	if o.unreadable {
		v, err = 0, tiered.ErrNotFound
	}
	finds(t, r, key, v, err)
	sees(t, w, key, v, err)
}

// readOf is what Get makes of what the far tier holds.
func readOf(far string) (int64, error) {
	switch far {
	case "gone", "lease", "negative", "expired", "later":
		return 0, tiered.ErrNotFound
	case "list":
		return 0, tiered.ErrWrongType
	case "envelope", "hello":
		return 0, errDecode
	}
	var v int64
	_, err := fmt.Sscan(far, &v)
	return v, err
}

var states = []*state{&missing, &present, &endless, &expired, &inGrace, &negative, &leased, &tagless, &list, &foreign, &otherType, &later}

var missing = state{
	name:    "missing",
	prepare: func(*testing.T, *env, *tiered.Cache[int64], string) {},
	want:    likeMissing("gone"),
}

// likeMissing are the outcomes where there is no entry; far is what operations leave alone that change nothing.
func likeMissing(far string) map[string]outcome {
	return map[string]outcome{
		"Get":            {err: tiered.ErrNotFound, far: far},
		"GetMany":        {answer: "absent", far: far},
		"GetOrSet":       {answer: newValue, far: "9"},
		"GetOrSetMany":   {answer: newValue, far: "9"},
		"GetOrSetValue":  {answer: newValue, far: "9"},
		"Set":            {far: "9"},
		"SetMany":        {answer: 1, far: "9"},
		"SetIfAbsent":    {answer: true, far: "9"},
		"Delete":         {answer: false, far: "gone"},
		"DeleteMany":     {answer: 0, far: "gone"},
		"Exists":         {answer: false, far: far},
		"ExistsMany":     {answer: false, far: far},
		"Clear":          {answer: 0, far: "gone"},
		"Count":          {answer: 0, far: far},
		"Increment":      {answer: delta, far: "2"},
		"TTL":            {err: tiered.ErrNotFound, far: far},
		"Expire":         {answer: false, far: far},
		"InvalidateTags": {far: far},
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
		"Get":            {answer: oldValue, far: "7"},
		"GetMany":        {answer: oldValue, far: "7"},
		"GetOrSet":       {answer: oldValue, far: "7"},
		"GetOrSetMany":   {answer: oldValue, far: "7"},
		"GetOrSetValue":  {answer: oldValue, far: "7"},
		"Set":            {far: "9"},
		"SetMany":        {answer: 1, far: "9"},
		"SetIfAbsent":    {answer: false, far: "7"},
		"Delete":         {answer: true, far: "gone"},
		"DeleteMany":     {answer: 1, far: "gone"},
		"Exists":         {answer: true, far: "7"},
		"ExistsMany":     {answer: true, far: "7"},
		"Clear":          {answer: 1, far: "gone"},
		"Count":          {answer: 1, far: "7"},
		"Increment":      {answer: oldValue + delta, far: "9"},
		"TTL":            {answer: ttl, far: "7"},
		"Expire":         {answer: true, far: "7"},
		"InvalidateTags": {far: "7"},
	}
}

// expired: Redis has removed it.
var expired = state{
	name: "expired",
	prepare: func(t *testing.T, e *env, w *tiered.Cache[int64], key string) {
		check(t, w.Set(t.Context(), key, oldValue, tiered.TTL(time.Millisecond)))
		e.becomes(t, key, "gone")
		sees(t, w, key, 0, tiered.ErrNotFound) // the near copy's clock is finer than the record's
	},
	want: likeMissing("gone"),
}

// inGrace: past its life, and kept for when a load fails.
var inGrace = state{
	name: "past its life, in its grace",
	prepare: func(t *testing.T, e *env, w *tiered.Cache[int64], key string) {
		check(t, w.Set(t.Context(), key, oldValue, tiered.TTL(time.Millisecond), tiered.FailSafe(time.Hour)))
		e.becomes(t, key, "expired")
		sees(t, w, key, 0, tiered.ErrNotFound)
	},
	want: likeMissing("expired"),
}

func (e *env) becomes(t *testing.T, key, far string) {
	t.Helper()
	redistest.Eventually(t, patience, func() error {
		if got := e.stored(t, key); got != far {
			return fmt.Errorf("the far tier holds %q", got)
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
		"GetOrSet":     {err: tiered.ErrNotFound, far: "negative"},
		"GetOrSetMany": {answer: "absent", far: "negative"},
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
		"GetOrSet":     {answer: newValue, far: "lease", unfilled: true},
		"GetOrSetMany": {answer: newValue, far: "lease", unfilled: true},
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
		"Get":            {err: tiered.ErrNotFound, far: "7", unreadable: true},
		"GetMany":        {answer: "absent", far: "7", unreadable: true},
		"Delete":         {answer: true, far: "gone"},
		"DeleteMany":     {answer: 1, far: "gone"},
		"Exists":         {answer: false, far: "7", unreadable: true},
		"ExistsMany":     {answer: false, far: "7", unreadable: true},
		"Clear":          {answer: 1, far: "gone"},
		"Count":          {answer: 1, far: "7", unreadable: true},
		"TTL":            {err: tiered.ErrNotFound, far: "7", unreadable: true},
		"Expire":         {answer: false, far: "7", unreadable: true},
		"InvalidateTags": {far: "7", unreadable: true},
	}),
}

// putRecord stores a record past the library.
func (e *env) putRecord(t *testing.T, key string, change func([]byte), r remote.Record) {
	t.Helper()
	r.Token, r.Created = remote.NewToken(), time.Now()
	data, err := remote.AppendRecord(nil, e.farKey(key), &r)
	check(t, err)
	if change != nil {
		change(data)
	}
	check(t, e.raw.Set(t.Context(), e.farKey(key), data, 0).Err())
}

// list: another application's list under our key. It is an entry that cannot be read. Loads do not touch it; a Set or a
// Delete, which say what shall be there, do.
var list = state{
	name: "a list",
	prepare: func(t *testing.T, e *env, _ *tiered.Cache[int64], key string) {
		check(t, e.raw.RPush(t.Context(), e.farKey(key), "a", "b").Err())
	},
	want: map[string]outcome{
		"Get": {err: tiered.ErrWrongType, far: "list"},
		// MGET has no way to say it.
		"GetMany":        {answer: "absent", far: "list", onCluster: &outcome{err: tiered.ErrWrongType, far: "list"}},
		"GetOrSet":       {answer: newValue, far: "list", unfilled: true},
		"GetOrSetMany":   {answer: newValue, far: "list", unfilled: true},
		"GetOrSetValue":  {err: tiered.ErrWrongType, far: "list"},
		"Set":            {far: "9"},
		"SetMany":        {answer: 1, far: "9"},
		"SetIfAbsent":    {err: tiered.ErrWrongType, far: "list"},
		"Delete":         {answer: true, far: "gone"},
		"DeleteMany":     {answer: 1, far: "gone"},
		"Exists":         {answer: true, far: "list"},
		"ExistsMany":     {answer: true, far: "list"},
		"Clear":          {answer: 1, far: "gone"},
		"Count":          {answer: 1, far: "list"},
		"Increment":      {err: tiered.ErrWrongType, far: "list"},
		"TTL":            {err: tiered.ErrWrongType, far: "list"},
		"Expire":         {err: tiered.ErrWrongType, far: "list"},
		"InvalidateTags": {far: "list"},
	},
}

// foreign: another application's string under our key.
var foreign = state{
	name: "a foreign string",
	prepare: func(t *testing.T, e *env, _ *tiered.Cache[int64], key string) {
		check(t, e.raw.Set(t.Context(), e.farKey(key), "hello", 0).Err())
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
func likeUnreadable(far, ttl string) map[string]outcome {
	return map[string]outcome{
		"Get":            {err: errDecode, far: far},
		"GetMany":        {err: errDecode, far: far},
		"GetOrSet":       {answer: newValue, far: "9"},
		"GetOrSetMany":   {answer: newValue, far: "9"},
		"GetOrSetValue":  {err: errDecode, far: far},
		"Set":            {far: "9"},
		"SetMany":        {answer: 1, far: "9"},
		"SetIfAbsent":    {answer: false, far: far},
		"Delete":         {answer: true, far: "gone"},
		"DeleteMany":     {answer: 1, far: "gone"},
		"Exists":         {answer: true, far: far},
		"ExistsMany":     {answer: true, far: far},
		"Clear":          {answer: 1, far: "gone"},
		"Count":          {answer: 1, far: far},
		"Increment":      {err: tiered.ErrNotNumeric, far: far},
		"TTL":            {answer: ttl, far: far},
		"Expire":         {answer: true, far: far},
		"InvalidateTags": {far: far},
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
		"Get":           {err: tiered.ErrNotFound, far: "later"},
		"GetMany":       {answer: "absent", far: "later"},
		"GetOrSet":      {answer: newValue, far: "later", unfilled: true},
		"GetOrSetMany":  {answer: newValue, far: "later", unfilled: true},
		"GetOrSetValue": {err: errDecode, far: "later"}, // it is not to be replaced, and cannot be read
	}),
}

func except(base, changes map[string]outcome) map[string]outcome {
	for op, o := range changes {
		base[op] = o
	}
	return base
}
