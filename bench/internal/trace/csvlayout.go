package trace

import (
	"bytes"
	"slices"
	"strings"
)

// delimiters by which a CSV trace may be told, the likeliest first. Colons and spaces are left out: they stand in keys.
var delimiters = []byte{',', '\t', '|', ';'}

// idNames are what headers call the key, in lower case and without what separates words; timeNames and sizeNames likewise.
var (
	idNames = []string{
		"objid", "objectid", "object", "obj", "key", "anonymizedkey", "hashedkey", "keyid", "itemid", "item", "id",
		"lbn", "lba", "block", "blockid", "blocknumber",
	}
	timeNames = []string{"time", "timestamp", "ts", "realtime", "clocktime", "optime"}
	sizeNames = []string{"size", "objsize", "objectsize"}
)

func columnNamed(header [][]byte, names []string) int {
	plain := make([]string, len(header))
	for i, field := range header {
		plain[i] = strings.NewReplacer("_", "", "-", "", " ", "", "#", "").Replace(strings.ToLower(string(field)))
	}
	for _, name := range names {
		if i := slices.Index(plain, name); i >= 0 {
			return i
		}
	}
	return -1
}

// sampledRows are the whole lines of a sample, split.
func sampledRows(sample []byte, whole bool, delimiter byte) ([][][]byte, error) {
	var rows [][][]byte
	for line := range bytes.Lines(bytes.Clone(wholeLines(sample, whole))) { // unquoting writes
		line = bytes.TrimRight(line, "\r\n")
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		fields, err := splitFields(nil, line, delimiter)
		if err != nil {
			return nil, err
		}
		rows = append(rows, fields)
	}
	return rows, nil
}

// wholeLines leaves out the last line of a sample that may go on.
func wholeLines(sample []byte, whole bool) []byte {
	if whole {
		return sample
	}
	return sample[:bytes.LastIndexByte(sample, '\n')+1]
}

// byColumns tells text that is CSV: the same number of columns in every line, three or more, and either a header that
// names the key, or numbers that never fall in the first column and numbers in the third, which is libCacheSim's order
// of time, key, size. A table of which neither holds and that has two columns of numbers is [ErrColumn].
func byColumns(sample []byte, whole bool) (bool, error) {
	var doubt error
	for _, delimiter := range delimiters {
		rows, err := sampledRows(sample, whole, delimiter)
		if err != nil || !isTable(rows) {
			continue
		}
		if columnNamed(rows[0], idNames) >= 0 && !hasNumber(rows[0]) {
			return true, nil
		}
		body := rows
		if !hasNumber(rows[0]) { // a header of names that say nothing here
			body = rows[1:]
		}
		switch {
		case len(body) == len(rows) && inOrderOfTime(body):
			return true, nil
		case delimiter != '|' && delimiter != ';' && numericColumns(body) > 1: // those two part keys as often as columns
			doubt = ErrColumn
		}
	}
	return false, doubt
}

func isTable(rows [][][]byte) bool {
	return len(rows) > 1 && len(rows[0]) > 2 &&
		!slices.ContainsFunc(rows, func(row [][]byte) bool { return len(row) != len(rows[0]) })
}

// numericColumns counts those that hold a number in every row.
func numericColumns(rows [][][]byte) (n int) {
	for i := range rows[0] {
		if !slices.ContainsFunc(rows, func(row [][]byte) bool { return !isNumber(row[i]) }) {
			n++
		}
	}
	return n
}

func hasNumber(row [][]byte) bool { return slices.ContainsFunc(row, isNumber) }

func inOrderOfTime(rows [][][]byte) bool {
	before := 0.0
	for _, row := range rows {
		now, ok := number(row[0])
		if !ok || now < before || !isNumber(row[2]) {
			return false
		}
		before = now
	}
	return true
}

// layOut completes what is told of a CSV trace by how it begins: the delimiter that parts the first line into most
// columns, a header if there is no number in the first line, and the key's column by the header's names, else the
// second, else the only one.
func layOut(told Columns, sample []byte) (layout, error) {
	l := layout{delimiter: told.Delimiter, id: told.ID - 1, time: told.Time - 1, size: told.Size - 1}
	first := firstLine(sample)
	if l.delimiter == 0 {
		l.delimiter = delimiters[0]
		for _, d := range append(slices.Clone(delimiters), ':') {
			if bytes.Count(first, []byte{d}) > bytes.Count(first, []byte{l.delimiter}) {
				l.delimiter = d
			}
		}
	}
	fields, err := splitFields(nil, bytes.Clone(first), l.delimiter)
	if err != nil {
		return l, err
	}
	l.header = len(first) > 0 && !hasNumber(fields)
	if told.Header != nil {
		l.header = *told.Header
	} else if columnNamed(fields, idNames) < 0 && len(fields) == 1 {
		l.header = false // one column of words: they are keys
	}
	if l.id >= 0 {
		return l, nil
	}
	if l.header {
		l.id = columnNamed(fields, idNames)
	}
	if l.id < 0 && len(fields) > 1 {
		if l.header && columnNamed(fields[1:2], slices.Concat(timeNames, sizeNames)) == 0 {
			return l, ErrColumn // the second column is something else, and no other calls itself the key
		}
		l.id = 1
	}
	l.id = max(l.id, 0)
	return l, nil
}

// firstLine is that of a sample which is not blank, as far as the sample goes.
func firstLine(sample []byte) []byte {
	for line := range bytes.Lines(sample) {
		if len(bytes.TrimSpace(line)) > 0 {
			return bytes.TrimRight(line, "\r\n")
		}
	}
	return nil
}
