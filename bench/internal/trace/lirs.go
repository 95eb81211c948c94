package trace

import (
	"bytes"
	"fmt"
	"strconv"
)

// lirsDecoder reads the traces published with the LIRS algorithm: one block number a line, and lines that begin with an
// asterisk, which mark phases and are no requests.
type lirsDecoder struct{ lines lineScanner }

func (d *lirsDecoder) offset() int64 { return d.lines.begin }

func (d *lirsDecoder) next() (uint64, error) {
	for {
		line, err := d.lines.next()
		if err != nil {
			return 0, err
		}
		if line[0] == '*' {
			continue
		}
		block, err := strconv.ParseInt(string(line), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%w: want a block number or an asterisk, have %.40q", ErrMalformed, line)
		}
		return uint64(block), nil
	}
}

// isLIRS holds for numbers with at least one asterisk among them: numbers alone read the same as [Lines].
func isLIRS(sample []byte, whole bool) bool {
	marks := 0
	fits := eachLine(sample, whole, func(line []byte) bool {
		if bytes.Equal(line, []byte{'*'}) {
			marks++
			return true
		}
		_, err := strconv.ParseInt(string(line), 10, 64)
		return err == nil
	})
	return fits && marks > 0
}
