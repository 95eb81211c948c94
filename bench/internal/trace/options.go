package trace

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Options say how a trace is read. The zero value tells the format by the content.
type Options struct {
	// Format of the trace. Defaults to Auto, or to CSV if the field of that name says anything.
	Format Format

	// CSV says what is where in a trace of that format. Defaults to what the content shows.
	CSV Columns

	// AllOperations makes every line of a Twitter trace a request. Defaults to the reads alone (get and gets), as in
	// the Caffeine simulator: a miss is followed by its own fill there, so a set in the trace that fills the production
	// cache after a miss would count as a hit that nobody had.
	AllOperations bool
}

// Columns is the layout of a CSV trace, in the terms of libCacheSim's csv reader. Columns count from 1; 0 leaves it to
// the content.
type Columns struct {
	ID        int   // obj-id-col: the key
	Time      int   // time-col; if given, what stands there must be a number
	Size      int   // obj-size-col; if given, what stands there must be a number. Sizes are not used: a cache is sized in entries
	Delimiter byte  // delimiter
	Header    *bool // has-header: the first line names the columns
}

const maxColumn = 1 << 10

func (c Columns) given() bool { return c != Columns{} }

// complete returns a copy with what is unset filled in, and joins every fault.
func (o Options) complete() (Options, error) {
	var faults []error
	format, err := ParseFormat(string(o.Format))
	if err != nil {
		faults = append(faults, err)
	}
	if format == Auto && o.CSV.given() {
		format = CSV
	}
	if format != CSV && o.CSV.given() && err == nil {
		faults = append(faults, fmt.Errorf("trace: columns are of csv traces only, and the format is %s", format))
	}
	o.Format = format
	return o, errors.Join(append(faults, o.CSV.validate())...)
}

func (c Columns) validate() error {
	var faults []error
	for _, column := range []struct {
		name string
		is   int
	}{{"obj-id-col", c.ID}, {"time-col", c.Time}, {"obj-size-col", c.Size}} {
		if column.is < 0 || column.is > maxColumn {
			faults = append(faults, fmt.Errorf("trace: %s %d: want 1 to %d", column.name, column.is, maxColumn))
		}
	}
	switch c.Delimiter {
	case '"', '\n', '\r':
		faults = append(faults, fmt.Errorf("trace: delimiter %q: it stands for something else", c.Delimiter))
	}
	return errors.Join(faults...)
}

// ParseColumns reads a layout as libCacheSim's tools take it with -t: "time-col=2, obj-id-col=5, obj-size-col=4,
// delimiter=,, has-header=true". The delimiter may be "\t" or "tab" too. obj-id-is-num is taken and changes nothing.
func ParseColumns(s string) (Columns, error) {
	var c Columns
	var faults []error
	for rest := strings.TrimSpace(s); rest != ""; {
		var name, value string
		name, value, rest = nextParameter(rest)
		if err := c.set(name, value); err != nil {
			faults = append(faults, err)
		}
	}
	return c, errors.Join(append(faults, c.validate())...)
}

// nextParameter cuts "name=value" off. A delimiter may be the comma that ends parameters.
func nextParameter(s string) (name, value, rest string) {
	if after, ok := strings.CutPrefix(s, "delimiter=,"); ok {
		return "delimiter", ",", strings.TrimLeft(after, ", ")
	}
	parameter, rest, _ := strings.Cut(s, ",")
	name, value, _ = strings.Cut(parameter, "=")
	return strings.TrimSpace(name), strings.TrimSpace(value), strings.TrimSpace(rest)
}

func (c *Columns) set(name, value string) (err error) {
	switch name {
	case "obj-id-col":
		c.ID, err = parseColumn(name, value)
	case "time-col":
		c.Time, err = parseColumn(name, value)
	case "obj-size-col":
		c.Size, err = parseColumn(name, value)
	case "delimiter":
		c.Delimiter, err = parseDelimiter(value)
	case "has-header":
		var has bool
		if has, err = parseTruth(name, value); err == nil {
			c.Header = &has
		}
	case "obj-id-is-num":
		_, err = parseTruth(name, value)
	default:
		err = fmt.Errorf("trace: unknown parameter %q of a csv trace: want obj-id-col, time-col, obj-size-col, delimiter or has-header", name)
	}
	return err
}

func parseColumn(name, value string) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("trace: %s=%s: want a column, counted from 1", name, value)
	}
	return n, nil
}

func parseDelimiter(value string) (byte, error) {
	switch {
	case value == `\t`, value == "tab":
		return '\t', nil
	case len(value) == 1:
		return value[0], nil
	default:
		return 0, fmt.Errorf("trace: delimiter=%s: want one character, or tab", value)
	}
}

func parseTruth(name, value string) (bool, error) {
	truth, err := strconv.ParseBool(value)
	if err != nil {
		return false, fmt.Errorf("trace: %s=%s: want true or false", name, value)
	}
	return truth, nil
}
