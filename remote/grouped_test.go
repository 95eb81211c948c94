package remote

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/redistest"
)

// group gives writes of keys that share an announcement.
func group(keys []string, a *Announcement) []Write {
	writes := writesOf(keys)
	for i := range writes {
		writes[i].Announcement = a
	}
	return writes
}

// groupOf gives deletions of keys that share an announcement.
func groupOf(keys []string, a *Announcement) []Deletion {
	gone := deletions(keys, 0)
	for i := range gone {
		gone[i].Announcement = a
	}
	return gone
}

// wantStored checks that what was written is there, as it was written, for as long, with a stamp.
func wantStored(t *testing.T, s *Store, rdb redis.UniversalClient, writes []Write, stamp uint64) {
	t.Helper()
	for _, w := range writes {
		r, err := s.Get(t.Context(), w.Key)
		if err != nil || string(r.Payload) != "of "+w.Key || r.Token != w.Record.Token || r.Stamp != stamp {
			t.Errorf("%s: %q, token %x, stamp %x, %v, want stamp %x", w.Key, r.Payload, r.Token, r.Stamp, err, stamp)
		}
		if left := rdb.PTTL(t.Context(), w.Key).Val(); left < 59*time.Minute || left > time.Hour {
			t.Errorf("%s is kept for %v", w.Key, left)
		}
	}
}

// wantLane checks the texts of what a lane holds, in any order: of one call, those of groups come
// before single ones.
func wantLane(t *testing.T, rdb redis.UniversalClient, index int, want ...string) {
	t.Helper()
	var got []string
	for _, e := range kept(t, rdb, t.Name(), index) {
		got = append(got, e.text)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("lane %d holds %q, want %q", index, got, want)
	}
}

// There is one message, in the lane and to those that listen, for all changes that share an
// announcement; and others in the same call have their own, or none.
func TestTogether_isOneAnnouncement(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, s *Store, rdb redis.UniversalClient) {
		ch := listen(t, rdb, 0)
		stamp := func(a *Announcement) uint64 {
			if oneServer(rdb) {
				return a.ID
			}
			return 0 // the caller's
		}
		first, second, other, own := news("first"), news("second"), news("other"), news("own")
		other.Lane = 1
		// alone, first × 5, silent, second × 2, other × 3
		writes := slices.Concat(
			group(someKeys(t.Name()+"alone", 1), own),
			group(someKeys(t.Name()+"first", 5), first),
			group(someKeys(t.Name()+"silent", 1), nil),
			group(someKeys(t.Name()+"second", 2), second),
			group(someKeys(t.Name()+"other", 3), other))
		writes[3].Record.TTL, writes[3].Record.Grace = 0, time.Hour
		noErrors(t, s.SetMany(t.Context(), writes))
		if left := rdb.PTTL(t.Context(), writes[3].Key).Val(); left != -1 {
			t.Errorf("a record without end is kept for %v", left)
		}
		wantStored(t, s, rdb, writes[:1], stamp(own))
		wantStored(t, s, rdb, slices.Concat(writes[1:3], writes[4:6]), stamp(first))
		wantStored(t, s, rdb, writes[6:7], 0)
		wantStored(t, s, rdb, writes[7:9], stamp(second))
		wantStored(t, s, rdb, writes[9:], stamp(other))
		wantLane(t, rdb, 0, "first", "own", "second")
		wantLane(t, rdb, 1, "other")

		for i := range writes {
			writes[i].Key += "none"
		}
		gone, more := news("gone"), news("more")
		deleted := slices.Concat(
			groupOf(someKeys(t.Name()+"first", 5), gone),
			groupOf(someKeys(t.Name()+"silent", 1), nil),
			groupOf(someKeys(t.Name()+"absent", 2), more),
			groupOf(someKeys(t.Name()+"alone", 1), news("single")))
		existed, errs := s.DeleteMany(t.Context(), deleted)
		noErrors(t, errs)
		for i, d := range deleted {
			if absent := i == 6 || i == 7; existed[i] == absent {
				t.Errorf("%s: existed %v", d.Key, existed[i])
			}
			if rdb.Exists(t.Context(), d.Key).Val() != 0 {
				t.Errorf("%s is still there", d.Key)
			}
		}
		wantLane(t, rdb, 0, "first", "gone", "more", "own", "second", "single")

		ids := map[string]uint64{"first": first.ID, "second": second.ID, "own": own.ID, "gone": gone.ID, "more": more.ID}
		for _, e := range kept(t, rdb, t.Name(), 0) {
			if id, ok := ids[e.text]; ok && id != uint64(e.id) {
				t.Errorf("%s: its id is %v, in the lane it is %v", e.text, lane.ID(id), e.id)
			}
			if got := heard(t, ch); got != e {
				t.Errorf("published %v, want %v", got, e)
			}
		}
	})
}

// On one server it is one command; on a Cluster one for each key, and one more, after them all.
func TestTogether_isOneRoundTripAndTwoOnACluster(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, s *Store, rdb redis.UniversalClient) {
		hook := &trips{}
		rdb.AddHook(hook)
		stream := lane.Of(t.Name(), 0).Stream
		keys := someKeys(t.Name(), 20)
		for name, change := range map[string]func() []error{
			"SetMany":    func() []error { return s.SetMany(t.Context(), group(keys, news("m"))) },
			"DeleteMany": func() []error { _, errs := s.DeleteMany(t.Context(), groupOf(keys, news("m"))); return errs },
		} {
			noErrors(t, change()) // the servers know the scripts
			hook.take()
			noErrors(t, change())
			sent := hook.take()
			switch {
			case oneServer(rdb):
				if fmt.Sprint(sent) != fmt.Sprint([][]string{{stream}}) {
					t.Errorf("%s: sent %q", name, sent)
				}
			case !slices.Equal(sorted(sent[:len(sent)-1]), slices.Sorted(slices.Values(keys))) || !slices.Equal(sent[len(sent)-1], []string{stream}):
				t.Errorf("%s: sent %q", name, sent)
			}
		}
	})
}

// sorted are the keys of some round trips.
func sorted(sent [][]string) []string { return slices.Sorted(slices.Values(slices.Concat(sent...))) }

// A batch of several groups takes no more round trips than one.
func TestTogether_groupsShareRoundTrips(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, s *Store, rdb redis.UniversalClient) {
		hook := &trips{}
		stream := lane.Of(t.Name(), 0).Stream
		var writes []Write
		var keys []string
		change := func() []error {
			writes, keys = nil, nil
			for i := range 3 {
				some := someKeys(fmt.Sprint(t.Name(), i), 5)
				writes, keys = append(writes, group(some, news(fmt.Sprint(i)))...), append(keys, some...)
			}
			return s.SetMany(t.Context(), writes)
		}
		noErrors(t, change()) // the servers know the scripts
		rdb.AddHook(hook)
		noErrors(t, change())
		all := hook.take()
		sent := slices.Concat(all...)
		if !oneServer(rdb) { // the nodes are asked at the same time
			sent = append(sorted(all[:len(all)-1]), all[len(all)-1]...)
		}
		want := []string{stream, stream, stream}
		if !oneServer(rdb) {
			want = append(slices.Sorted(slices.Values(keys)), want...) // each key by itself, and then their announcements
		} else if len(all) != 1 {
			t.Errorf("%d round trips, want 1", len(all))
		}
		if !slices.Equal(sent, want) {
			t.Errorf("sent %q", all)
		}
		for i := range 3 {
			if part := writes[5*i : 5*i+5]; part[0].Announcement.ID == 0 || i > 0 && part[0].Announcement.ID <= writes[5*i-1].Announcement.ID {
				t.Errorf("group %d has the id %d", i, part[0].Announcement.ID)
			}
		}
		if oneServer(rdb) {
			for i := range 3 {
				wantStored(t, s, rdb, writes[5*i:5*i+5], writes[5*i].Announcement.ID)
			}
		}
	})
}

// The changes that share an announcement are made in as few scripts as there is room for; none is
// divided that fits, whatever precedes it.
func TestTogether_withMoreThanABatchHolds(t *testing.T) {
	t.Parallel()
	rdb := shared.Client(t)
	fresh(t, rdb)
	s := newStore(t, rdb, func(o *Options) { o.BatchSize = 4 })
	a, b := news("a"), news("b")
	writes := slices.Concat(group(someKeys(t.Name()+"a", 4), a), group(someKeys(t.Name()+"b", 4), b))
	writes[0].Key = strings.Repeat("x", 1<<16)
	errs := s.SetMany(t.Context(), writes)
	wantErr(t, errs[0], ErrTooLarge)
	noErrors(t, errs[1:])
	wantLane(t, rdb, 0, "a", "b")
	wantStored(t, s, rdb, writes[1:4], a.ID)
	wantStored(t, s, rdb, writes[4:], b.ID)

	many := news("many")
	writes = group(someKeys(t.Name()+"many", 10), many)
	noErrors(t, s.SetMany(t.Context(), writes))
	wantLane(t, rdb, 0, "a", "b", "many", "many", "many")
	var ids []lane.ID
	for _, e := range kept(t, rdb, t.Name(), 0) {
		if e.text == "many" {
			ids = append(ids, e.id)
		}
	}
	wantStored(t, s, rdb, writes[:4], uint64(ids[0]))
	wantStored(t, s, rdb, writes[4:8], uint64(ids[1]))
	wantStored(t, s, rdb, writes[8:], uint64(ids[2]))
	if many.ID != uint64(ids[2]) {
		t.Errorf("the announcement's id is %v, the last is %v", lane.ID(many.ID), ids[2])
	}
	existed, errs := s.DeleteMany(t.Context(), groupOf(someKeys(t.Name()+"many", 11), news("gone")))
	noErrors(t, errs)
	for i, was := range existed {
		if was != (i < 10) {
			t.Errorf("%d existed: %v", i, was)
		}
	}
	wantLane(t, rdb, 0, "a", "b", "many", "many", "many", "gone", "gone", "gone")
}

func TestTogether_announcesNothingWithoutANamespace(t *testing.T) {
	t.Parallel()
	rdb := shared.Client(t)
	fresh(t, rdb)
	s := newStore(t, rdb, func(o *Options) { o.Namespace = "" })
	ch := subscribe(t, rdb)
	a := news("m")
	writes := group(someKeys(t.Name(), 5), a)
	noErrors(t, s.SetMany(t.Context(), writes))
	wantStored(t, s, rdb, writes, 0)
	existed, errs := s.DeleteMany(t.Context(), groupOf(someKeys(t.Name(), 6), a))
	noErrors(t, errs)
	if fmt.Sprint(existed) != "[true true true true true false]" || a.ID != 0 {
		t.Errorf("existed %v, id %d", existed, a.ID)
	}
	ch.want(t, rdb)
	wantLane(t, rdb, 0)
}

func TestTogether_serverThatForgotTheScriptsLearnsThemAgain(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t) // scripts are flushed
	rdb := server.Client(t)
	s := newStore(t, rdb)
	for i := range 2 {
		writes := group(someKeys(fmt.Sprint(t.Name(), i), 5), news("set"))
		must(t, rdb.ScriptFlush(t.Context()).Err())
		whole := calls(t, rdb, "eval")
		noErrors(t, s.SetMany(t.Context(), writes))
		wantStored(t, s, rdb, writes, writes[0].Announcement.ID)
		must(t, rdb.ScriptFlush(t.Context()).Err())
		existed, errs := s.DeleteMany(t.Context(), groupOf(someKeys(fmt.Sprint(t.Name(), i), 5), news("delete")))
		noErrors(t, errs)
		if slices.Contains(existed, false) {
			t.Errorf("existed %v", existed)
		}
		if n := calls(t, rdb, "eval") - whole; n != 2 {
			t.Errorf("%d scripts were sent whole, want 2", n)
		}
	}
	wantLane(t, rdb, 0, "set", "delete", "set", "delete")
}

// Each key of a group is told for itself whether there was an entry, whatever the key holds.
func TestTogether_tellsEachDeletionItsOwnResult(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, s *Store, rdb redis.UniversalClient) {
		var keys []string
		var want []bool
		a := news("m")
		for _, c := range anything {
			key := t.Name() + c.name
			c.put(t, rdb, key)
			keys, want = append(keys, key), append(want, c.present)
		}
		tagged := value("v")
		tagged.Tags = []Tag{{Name: "a", Version: NewToken()}}
		put(t, rdb, t.Name()+"tagged", tagged)
		must(t, rdb.HSet(t.Context(), t.Name()+"hash", "f", "v").Err())
		keys, want = append(keys, t.Name()+"tagged", t.Name()+"hash"), append(want, true, true)
		gone := groupOf(keys, a)
		for _, c := range stamps {
			key := t.Name() + "stamp " + c.name
			r := value("v")
			r.Stamp = c.stamp
			put(t, rdb, key, r)
			gone, want = append(gone, Deletion{Key: key, Floor: c.floor, Announcement: a}), append(want, !c.older)
		}
		gone, want = append(gone, gone[len(gone)-1]), append(want, false) // a second time
		existed, errs := s.DeleteMany(t.Context(), gone)
		noErrors(t, errs)
		for i, d := range gone {
			if existed[i] != want[i] {
				t.Errorf("%s: existed %v", d.Key, existed[i])
			}
			if rdb.Exists(t.Context(), d.Key).Val() != 0 {
				t.Errorf("%s: something is still there", d.Key)
			}
		}
		wantLane(t, rdb, 0, "m")
	})
}

// Sets of a group replace any record or other value under their keys; of one key the last counts.
func TestTogether_setsReplaceAnything(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, s *Store, rdb redis.UniversalClient) {
		var keys []string
		for _, c := range anything {
			key := t.Name() + c.name
			c.put(t, rdb, key)
			keys = append(keys, key)
		}
		a := news("m")
		writes := append(group(keys[:1], a), group(keys, a)...)
		noErrors(t, s.SetMany(t.Context(), writes))
		stamp := a.ID
		if !oneServer(rdb) {
			stamp = 0
		}
		wantStored(t, s, rdb, writes[1:], stamp)
		wantLane(t, rdb, 0, "m")
	})
}

// One that cannot be a record is not sent; the others are stored, and announced once.
func TestTogether_leavesOutAMalformedRecord(t *testing.T) {
	t.Parallel()
	onEachServer(t, func(t *testing.T, s *Store, rdb redis.UniversalClient) {
		for _, at := range []int{0, 1, 3} {
			a := news(fmt.Sprint(at))
			writes := group(someKeys(fmt.Sprint(t.Name(), at), 4), a)
			writes[at].Key = strings.Repeat("x", 1<<16)
			errs := s.SetMany(t.Context(), writes)
			wantErr(t, errs[at], ErrTooLarge)
			good := slices.Delete(slices.Clone(writes), at, at+1)
			noErrors(t, slices.Delete(errs, at, at+1))
			stamp := a.ID
			if !oneServer(rdb) {
				stamp = 0
			}
			wantStored(t, s, rdb, good, stamp)
		}
		wantLane(t, rdb, 0, "0", "1", "3")
		// Where one is left, it is a change like any other.
		a := news("one")
		errs := s.SetMany(t.Context(), group([]string{strings.Repeat("x", 1<<16), t.Name() + "left"}, a))
		wantErr(t, errs[0], ErrTooLarge)
		wantErr(t, errs[1])
		for _, err := range s.SetMany(t.Context(), group([]string{strings.Repeat("x", 1<<16), strings.Repeat("y", 1<<16)}, a)) {
			wantErr(t, err, ErrTooLarge)
		}
		wantLane(t, rdb, 0, "0", "1", "3", "one")
	})
}

func TestLeft_tellsWhetherTheChangeWasSent(t *testing.T) {
	t.Parallel()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	wantErr(t, AbandonedError(gone, "set", false), context.Canceled)
	wantErr(t, AbandonedError(gone, "set", true), context.Canceled, ErrUnknownOutcome)
}

func TestJoined_makesASpanOfItsOwn(t *testing.T) {
	t.Parallel()
	p := &spans{}
	s := newStore(t, shared.Client(t), func(o *Options) { o.TracerProvider = p })
	s.StartSpan(t.Context(), "set")(nil)
	s.StartSpan(t.Context(), "delete")(AbandonedError(t.Context(), "delete", true))
	got := p.take()
	if len(got) != 2 || got[0].name != "doppio.remote.set" || len(got[0].errs) != 0 || got[1].name != "doppio.remote.delete" || got[1].reason != ErrUnknownOutcome.Error() {
		t.Errorf("spans %+v", got)
	}
	newStore(t, shared.Client(t)).StartSpan(t.Context(), "set")(nil) // nobody records
}
