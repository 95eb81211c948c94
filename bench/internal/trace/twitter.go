package trace

import (
	"bytes"
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// twitterDecoder reads the traces of Twitter's cache clusters: "timestamp,anonymized key,key size,value size,client
// id,operation,TTL" a line.
type twitterDecoder struct {
	lines lineScanner
	all   bool // operations; else those that read
}

func (d *twitterDecoder) offset() int64 { return d.lines.begin }

func (d *twitterDecoder) next() (uint64, error) {
	for {
		line, err := d.lines.next()
		if err != nil {
			return 0, err
		}
		key, reads, ok := parseTwitter(line)
		if !ok {
			return 0, fmt.Errorf("%w: want \"timestamp,key,key size,value size,client id,operation,TTL\", have %.60q", ErrMalformed, line)
		}
		if reads || d.all {
			return xxhash.Sum64(key), nil
		}
	}
}

// twitterOperations says which operations there are, and which read.
var twitterOperations = map[string]bool{
	"get": true, "gets": true, "set": false, "add": false, "replace": false, "cas": false,
	"append": false, "prepend": false, "delete": false, "incr": false, "decr": false,
}

// parseTwitter reads one line. It counts the columns after the key from the right, so a key may hold commas.
func parseTwitter(line []byte) (key []byte, reads, ok bool) {
	time, rest, found := bytes.Cut(line, []byte{','})
	if !found || !isNumber(time) {
		return nil, false, false
	}
	var columns [5][]byte // key size, value size, client id, operation, TTL
	for i := len(columns) - 1; i >= 0; i-- {
		comma := bytes.LastIndexByte(rest, ',')
		if comma < 0 {
			return nil, false, false
		}
		rest, columns[i] = rest[:comma], bytes.TrimSpace(rest[comma+1:])
	}
	reads, known := twitterOperations[string(columns[3])]
	ok = known && len(rest) > 0 && isNumber(columns[0]) && isNumber(columns[1]) && isNumber(columns[4])
	return rest, reads, ok
}

func isTwitter(sample []byte, whole bool) bool {
	return eachLine(sample, whole, func(line []byte) bool {
		_, _, ok := parseTwitter(line)
		return ok
	})
}
