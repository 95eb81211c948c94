package remote

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
)

// hostileRecords put under a key what no instance has written.
func hostileRecords(t *testing.T) map[string]func(ctx context.Context, rdb *redis.Client, key string) error {
	text := func(s string) func(context.Context, *redis.Client, string) error {
		return func(ctx context.Context, rdb *redis.Client, key string) error {
			return rdb.Set(ctx, key, s, time.Hour).Err()
		}
	}
	out := map[string]func(ctx context.Context, rdb *redis.Client, key string) error{
		"list": func(ctx context.Context, rdb *redis.Client, key string) error { return rdb.RPush(ctx, key, "x").Err() },
		"hash": func(ctx context.Context, rdb *redis.Client, key string) error {
			return rdb.HSet(ctx, key, "f", "x").Err()
		},
		"set": func(ctx context.Context, rdb *redis.Client, key string) error { return rdb.SAdd(ctx, key, "x").Err() },
		"zset": func(ctx context.Context, rdb *redis.Client, key string) error {
			return rdb.ZAdd(ctx, key, redis.Z{Score: 1, Member: "x"}).Err()
		},
		"stream": func(ctx context.Context, rdb *redis.Client, key string) error {
			return rdb.XAdd(ctx, &redis.XAddArgs{Stream: key, Values: []string{"f", "x"}}).Err()
		},
		"empty": text(""), "byte": text("\x02"), "text": text("text"), "nan": text("nan"), "inf": text("-inf"), "number": text("1e400"),
		"digits": text(strings.Repeat("9", 400)), "long": text(strings.Repeat("\xff", 1000)), "zeros": text(strings.Repeat("\x00", 200)),
	}
	// What is a record of its key, or of another one, but for something.
	spoiled := func(kind Kind, another string, spoil func(b []byte) []byte) func(context.Context, *redis.Client, string) error {
		return func(ctx context.Context, rdb *redis.Client, key string) error {
			r := full()
			r.Kind, r.Tags, r.Payload = kind, r.Tags[:2], []byte("nan")
			return rdb.Set(ctx, key, spoil(encode(t, key+another, r)), time.Hour).Err()
		}
	}
	for kind := range Kind(8) {
		for what, n := range map[string]int{"its token": 17, "its header but a byte": headerSize - 1, "its header": headerSize, "a byte after its header": headerSize + 1, "all but 3 bytes": -3} {
			out[fmt.Sprintf("kind %d cut to %s", kind, what)] = spoiled(kind, "", func(b []byte) []byte { return b[:(n+len(b))%len(b)] })
		}
		for at, what := range map[int]string{offStamp: "stamp", offCreated: "date", offTTL: "life", offFlags: "flags", offGrace: "grace", offPayload: "payload", headerSize: "tags"} {
			out[fmt.Sprintf("kind %d with a huge %s", kind, what)] = spoiled(kind, "", func(b []byte) []byte {
				binary.BigEndian.PutUint32(b[at:], math.MaxUint32)
				b[offVersion] = recordVersion
				return b
			})
		}
		out[fmt.Sprintf("kind %d with NaN for a stamp", kind)] = spoiled(kind, "", func(b []byte) []byte {
			binary.BigEndian.PutUint64(b[offStamp:], math.Float64bits(math.NaN()))
			return b
		})
		out[fmt.Sprintf("kind %d for another key", kind)] = spoiled(kind, "x", func(b []byte) []byte { return b })
		out[fmt.Sprintf("kind %d with a payload that is no number", kind)] = spoiled(kind, "", func(b []byte) []byte { return b })
		out[fmt.Sprintf("kind %d of another version", kind)] = spoiled(kind, "", func(b []byte) []byte { b[offVersion] = 200; return b })
	}
	return out
}

// scriptRow is what a script is run by. An empty row is that of a part, which other scripts are
// made of: they run it.
type scriptRow struct {
	run func(ctx context.Context, s *Store, key string) error
	// told is what an error may match; nothing else may be wrong.
	told []error
}

func (r scriptRow) part() bool { return r.run == nil }

var scriptRows = map[string]scriptRow{
	"announce_and_stamp": {}, "deadline": {}, "header": {}, "lease": {}, "raise_ttl": {}, "record": {}, "server_clock": {}, "store": {},

	"acquire": {func(ctx context.Context, s *Store, key string) error {
		_, _, err := s.Acquire(ctx, LeaseRequest{Key: key, Token: NewToken(), Stamp: 5, Replaces: []byte("0123456789abcdef")}, time.Second)
		return err
	}, []error{ErrWrongType, ErrMalformed}},
	"announce": {func(ctx context.Context, s *Store, _ string) error { return s.Announce(ctx, news("m")) }, nil},
	"delete": {func(ctx context.Context, s *Store, key string) error {
		_, err := s.Delete(ctx, key, 1<<40, news("m"))
		return err
	}, nil},
	"delete_all": {func(ctx context.Context, s *Store, key string) error {
		_, errs := s.DeleteMany(ctx, groupOf([]string{key, key + "x"}, news("m")))
		return errors.Join(errs...)
	}, nil},
	"set_ttl": {func(ctx context.Context, s *Store, key string) error {
		_, err := setTTL(ctx, s, key, time.Minute, 1<<40, news("m"))
		return err
	}, []error{ErrWrongType}},
	"fill": {func(ctx context.Context, s *Store, key string) error {
		_, err := s.Fill(ctx, key, []byte("0123456789abcdef"), value("v"))
		return err
	}, []error{ErrWrongType}},
	"raise_floor": {func(ctx context.Context, s *Store, _ string) error { return s.RaiseFloor(ctx, "cache", news("m")) }, nil},
	"floors": {func(ctx context.Context, s *Store, _ string) error {
		_, err := s.Floors(ctx, 0)
		return err
	}, nil},
	"increment": {func(ctx context.Context, s *Store, key string) error {
		n, err := increment(ctx, s, key, 7, nil, number(0), 1<<40, news("m"))
		if err == nil && n != 7 { // the entry counts as none, or it is an integer
			return fmt.Errorf("the sum is %d", n)
		}
		return err
	}, []error{ErrWrongType, ErrNotNumeric, ErrOverflow, ErrTagged}},
	"extend_ttl": {func(ctx context.Context, s *Store, key string) error {
		return s.ExtendTags(ctx, []string{key}, time.Hour)
	}, nil},
	"raise_stamp": {func(ctx context.Context, s *Store, key string) error {
		n, err := parseInt(scriptRaiseStamp.Run(ctx, s.rdb, []string{key}, "0123456789abcdef", "\xff\xff\xff\xff\xff\xff\xff\xff"))
		if err == nil && n != 0 && n != 1 {
			return fmt.Errorf("%d", n)
		}
		return err
	}, nil},
	"begin_history": {func(ctx context.Context, s *Store, _ string) error { return s.BeginHistory(ctx, 1<<40, news("m")) }, nil},
	"check_lanes":   {func(ctx context.Context, s *Store, _ string) error { return s.CheckLanes(ctx) }, nil},
	"publish":       {func(ctx context.Context, s *Store, _ string) error { return s.Publish(ctx, 0, news("m").Message) }, nil},
	"delete_older": {func(ctx context.Context, s *Store, key string) error {
		_, err := clearKeys(ctx, s, key, "", 1<<40, 1<<40)
		return err
	}, nil},
	"release": {func(ctx context.Context, s *Store, key string) error {
		_, err := s.Release(ctx, key, []byte("0123456789abcdef"))
		return err
	}, []error{ErrWrongType}},
	"renew": {func(ctx context.Context, s *Store, key string) error {
		_, errs := s.RenewMany(ctx, []Lease{{Key: key, Token: []byte("0123456789abcdef")}}, time.Second)
		return errs[0]
	}, []error{ErrWrongType}},
	"compare_and_delete": {func(ctx context.Context, s *Store, key string) error {
		_, errs := s.CompareAndDelete(ctx, []Removal{{Key: key, Seen: []byte("0123456789abcdef"), Announcement: news("m")}})
		return errs[0]
	}, nil},
	"set": {func(ctx context.Context, s *Store, key string) error { return s.Set(ctx, key, value("v"), news("m")) }, nil},
	"set_all": {func(ctx context.Context, s *Store, key string) error {
		return errors.Join(s.SetMany(ctx, group([]string{key, key + "x"}, news("m")))...)
	}, nil},
	"set_if_absent": {func(ctx context.Context, s *Store, key string) error {
		_, _, err := s.SetIfAbsent(ctx, key, value("v"), 1<<40, news("m"))
		return err
	}, []error{ErrWrongType, ErrMalformed}},
	"delete_if_empty": {func(ctx context.Context, s *Store, key string) error {
		_, err := s.DeleteIfEmpty(ctx, key)
		return err
	}, nil},
	"tag_version": {func(ctx context.Context, s *Store, key string) error {
		life := time.Hour
		got, err := s.TagVersions(ctx, []string{key}, &life)
		if err == nil && got[0] == (Token{}) {
			return errors.New("a tag without a version")
		}
		return err
	}, nil},
	"ttl": {func(ctx context.Context, s *Store, key string) error {
		_, _, err := ttlOf(ctx, s, key, 1<<40)
		return err
	}, []error{ErrWrongType, ErrMalformed, ErrNotFound}},
}

// wantTold checks that err is nothing that a user cannot understand: of the row's kinds, and no
// script's own words.
func wantTold(t *testing.T, err error, told []error) {
	t.Helper()
	if err == nil {
		return
	}
	var version *UnknownVersionError
	understood := errors.As(err, &version)
	for _, kind := range told {
		understood = understood || errors.Is(err, kind)
	}
	for _, raw := range []string{"user_script", "attempt to", "bad argument", "DOPPIO-", "nil value"} {
		understood = understood && (!strings.Contains(err.Error(), raw) || errors.Is(err, ErrWrongType) && raw == "user_script")
	}
	if !understood {
		t.Errorf("error %v", err)
	}
}

func TestHostile_scriptsMakeDoWithAnyRecord(t *testing.T) {
	t.Parallel()
	files, err := fs.Glob(scriptFiles, "script/*.lua")
	must(t, err)
	if len(files) < 25 {
		t.Fatalf("%d scripts", len(files))
	}
	for _, file := range files {
		name := strings.TrimSuffix(strings.TrimPrefix(file, "script/"), ".lua")
		row, known := scriptRows[name]
		if !known {
			t.Errorf("%s has no row", file)
			continue
		}
		if row.part() {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, rdb := onShared(t)
			ctx := t.Context()
			i := 0
			for what, put := range hostileRecords(t) {
				i++
				key := fmt.Sprintf("%s:%d", t.Name(), i)
				must(t, put(ctx, rdb, key))
				t.Log(what)
				wantTold(t, row.run(ctx, s, key), row.told)
				// Whatever it was, a change replaces it.
				must(t, s.Set(ctx, key, value("after"), news("m")))
				if r, err := s.Get(ctx, key); err != nil || string(r.Payload) != "after" {
					t.Errorf("%s: %q, %v after a Set", what, r.Payload, err)
				}
			}
		})
	}
}

// hostileLanes spoil a lane's keys.
var hostileLanes = map[string]func(ctx context.Context, rdb *redis.Client, n lane.Names) error{
	"stream is a string": func(ctx context.Context, rdb *redis.Client, n lane.Names) error {
		return rdb.Set(ctx, n.Stream, "x", 0).Err()
	},
	"stream is a hash": func(ctx context.Context, rdb *redis.Client, n lane.Names) error {
		return rdb.HSet(ctx, n.Stream, "f", "x").Err()
	},
	"entries without m": func(ctx context.Context, rdb *redis.Client, n lane.Names) error {
		return rdb.XAdd(ctx, &redis.XAddArgs{Stream: n.Stream, Values: []string{"n", "x", "m", "y"}}).Err()
	},
	"last id": func(ctx context.Context, rdb *redis.Client, n lane.Names) error {
		return rdb.XAdd(ctx, &redis.XAddArgs{Stream: n.Stream, ID: "18446744073709551615-18446744073709551615", Values: []string{"m", "x"}}).Err()
	},
	"id past a record's": func(ctx context.Context, rdb *redis.Client, n lane.Names) error {
		return rdb.XAdd(ctx, &redis.XAddArgs{Stream: n.Stream, ID: "17592186044416-0", Values: []string{"m", "x"}}).Err()
	},
	"id carried past a record's": func(ctx context.Context, rdb *redis.Client, n lane.Names) error {
		return rdb.XAdd(ctx, &redis.XAddArgs{Stream: n.Stream, ID: "1764089278123-18446744073709551615", Values: []string{"m", "x"}}).Err()
	},
	"last id, trimmed": func(ctx context.Context, rdb *redis.Client, n lane.Names) error {
		err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: n.Stream, ID: "18446744073709551615-18446744073709551615", Values: []string{"m", "x"}}).Err()
		return errors.Join(err, rdb.XTrimMaxLen(ctx, n.Stream, 0).Err())
	},
	"floors are a string": func(ctx context.Context, rdb *redis.Client, n lane.Names) error {
		return rdb.Set(ctx, n.Floors, "x", 0).Err()
	},
	"floors are a stream": func(ctx context.Context, rdb *redis.Client, n lane.Names) error {
		return rdb.XAdd(ctx, &redis.XAddArgs{Stream: n.Floors, Values: []string{"f", "x"}}).Err()
	},
	"floors of garbage": func(ctx context.Context, rdb *redis.Client, n lane.Names) error {
		return rdb.HSet(ctx, n.Floors, "!", "nan", "*", "inf-0", "cache", "99999999999999999999-1", "other", "", "more", "1-1-1").Err()
	},
	"count is a list": func(ctx context.Context, rdb *redis.Client, n lane.Names) error {
		return rdb.RPush(ctx, n.Count, "x").Err()
	},
	"count is garbage": func(ctx context.Context, rdb *redis.Client, n lane.Names) error {
		return rdb.Set(ctx, n.Count, "nan", 0).Err()
	},
}

// Whatever another program has left in a lane's keys, each script makes do with it or replaces it:
// ids rise, floors can be read, and no user has to delete a key by hand.
func TestHostile_scriptsMakeDoWithAnyLane(t *testing.T) {
	t.Parallel()
	for name, row := range scriptRows {
		if row.part() {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, rdb := onShared(t)
			ctx, names := t.Context(), lane.Of(t.Name(), 0)
			for what, spoil := range hostileLanes {
				must(t, rdb.Del(ctx, names.Stream, names.Floors, names.Count).Err())
				must(t, spoil(ctx, rdb, names))
				t.Log(what)
				key := t.Name() + ":key"
				must(t, rdb.Del(ctx, key).Err())
				err := row.run(ctx, s, key)
				if !errors.Is(err, ErrNotFound) {
					wantTold(t, err, nil)
				}
				first, second := news("m"), news("m")
				must(t, errors.Join(s.Set(ctx, key, value("v"), first), s.Announce(ctx, second), s.CheckLanes(ctx)))
				if first.ID == 0 || second.ID <= first.ID {
					t.Errorf("%s: ids %v and %v", what, lane.ID(first.ID), lane.ID(second.ID))
				}
				if r, err := s.Get(ctx, key); err != nil || r.Stamp != first.ID {
					t.Errorf("%s: stamp %v, %v, want %v", what, lane.ID(r.Stamp), err, lane.ID(first.ID))
				}
				raised := news("m")
				must(t, s.RaiseFloor(ctx, "cache", raised))
				if floors, err := s.Floors(ctx, 0); err != nil || floors["cache"] < second.ID || floors["cache"] != raised.ID {
					t.Errorf("%s: floors %v, %v, want one at %v", what, floors, err, lane.ID(raised.ID))
				}
			}
		})
	}
}

// Floors that cannot be read, or are too many, are one for all: every record that any of them had
// made invalid stays so, and those that are stored afterwards do not become so.
func TestHostile_floorsWithoutEndBecomeOne(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(ctx context.Context, rdb *redis.Client, floors string) error{
		"another type": func(ctx context.Context, rdb *redis.Client, floors string) error {
			return errors.Join(rdb.Del(ctx, floors).Err(), rdb.Set(ctx, floors, "x", 0).Err())
		},
		"fields": func(ctx context.Context, rdb *redis.Client, floors string) error {
			pipe := rdb.Pipeline()
			for i := range 20 {
				fields := make([]string, 0, 10_000)
				for j := range 5_000 {
					fields = append(fields, strconv.Itoa(5_000*i+j), "1-1")
				}
				pipe.HSet(ctx, floors, fields)
			}
			_, err := pipe.Exec(ctx)
			return err
		},
		"bytes": func(ctx context.Context, rdb *redis.Client, floors string) error {
			return rdb.HSet(ctx, floors, strings.Repeat("x", 5<<20), "1-1").Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, rdb := onShared(t)
			ctx, names, raised := t.Context(), lane.Of(t.Name(), 0), news("m")
			must(t, s.RaiseFloor(ctx, "cache", raised))
			must(t, spoil(ctx, rdb, names.Floors))
			floors, err := s.Floors(ctx, 0)
			if err != nil || len(floors) != 2 || floors["*"] < raised.ID || floors["!"] != floors["*"] {
				t.Fatalf("%d floors, %v: one for all is %v, want no less than %v", len(floors), err, lane.ID(floors["*"]), lane.ID(raised.ID))
			}
			if n := rdb.HLen(ctx, names.Floors).Val(); n != 2 {
				t.Errorf("Redis keeps %d floors", n)
			}
			a := news("m")
			must(t, s.Set(ctx, t.Name(), value("v"), a))
			if there, err := exists(ctx, s, t.Name(), floors["*"]); err != nil || !there {
				t.Errorf("what was stored afterwards is there: %t, %v", there, err)
			}
		})
	}
}
