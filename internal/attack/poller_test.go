//go:build linux

package attack

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"regexp"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/harness"
	"github.com/doppio-cache/doppio/internal/history"
	"github.com/doppio-cache/doppio/internal/lane"
)

// What is known here of records: their kind comes first, and then, at an offset, the stamp that a floor is compared with.
const (
	kindValue   = 2
	stampOffset = 17
)

var valuePattern = regexp.MustCompile(`k(\d+)\.v(\d+)\.`)

// poll looks at what Redis holds under the hot keys, past all caches, until ctx ends.
func (a *attack) poll(ctx context.Context) {
	floors := lane.Of(a.servers.namespace, 0).Floors
	for harness.Sleep(ctx, rand.N(8*time.Millisecond)) {
		k := rand.IntN(a.fleet.config.Keys)
		o := history.Op{Kind: history.Poll, Key: uint32(k), Start: history.Now()}
		record, limits, err := a.look(ctx, a.servers.key(k), floors)
		o.End = history.Now()
		switch {
		case err != nil:
			o.Result = history.Error
		case len(record) < stampOffset+8 || record[0] != kindValue || belowFloor(record, limits):
			o.Result = history.Nothing
		default:
			o.Result = history.Foreign
			if m := valuePattern.FindStringSubmatch(record); len(m) > 1 && m[1] == strconv.Itoa(k) {
				o.Result, o.Version = parseValue(k, m[0])
			}
		}
		a.fleet.log.Add(o)
	}
}

// look gets a record, and the floors that held when it was got, or later.
func (a *attack) look(ctx context.Context, key, floors string) (string, map[string]string, error) {
	var record *redis.StringCmd
	var limits *redis.MapStringStringCmd
	var err error
	if a.servers.cluster != nil { // the two are in different slots
		record = a.servers.raw.Get(ctx, key)
		limits = a.servers.raw.HGetAll(ctx, floors)
		err = errors.Join(record.Err(), limits.Err())
	} else {
		_, err = a.servers.raw.TxPipelined(ctx, func(p redis.Pipeliner) error {
			record, limits = p.Get(ctx, key), p.HGetAll(ctx, floors)
			return nil
		})
	}
	if errors.Is(record.Err(), redis.Nil) {
		return "", nil, limits.Err()
	}
	return record.Val(), limits.Val(), err
}

// belowFloor tells whether a record is there and counts as absent: the history that it is from was lost.
func belowFloor(record string, floors map[string]string) bool {
	stamp := binary.BigEndian.Uint64([]byte(record[stampOffset:]))
	for _, name := range []string{cacheName, "*"} {
		if floor, err := lane.Parse(floors[name]); err == nil && stamp < uint64(floor) {
			return true
		}
	}
	return false
}
