package report

import (
	"math"
	"strings"

	"github.com/doppio-cache/doppio/bench/internal/term"
)

// inUnit writes a value with its unit.
func inUnit(v float64, unit string) string {
	switch base, per, _ := strings.Cut(unit, "/"); base {
	case "ns":
		return micros(v/1000) + slashed(per, "op")
	case "µs", "us":
		return micros(v) + slashed(per, "op")
	case "ms":
		return millis(v) + slashed(per, "op")
	case "bytes", "B":
		return size(v) + slashed(per, "")
	case "%", "×":
		return number(v) + " " + unit
	case "":
		return number(v) + unit
	default:
		return number(v) + " " + unit
	}
}

// bare is a value beside a title that has its unit: times and sizes keep theirs, for they choose it by their size.
func bare(v float64, unit string) string {
	switch base, _, _ := strings.Cut(unit, "/"); base {
	case "ns", "µs", "us", "ms", "bytes", "B":
		return inUnit(v, base)
	}
	return number(v)
}

// slashed is what a value is of, unless that goes without saying.
func slashed(per, silent string) string {
	if per == "" || per == silent {
		return ""
	}
	return "/" + per
}

// isTime tells units of which the ratio is the result and the value the footnote.
func isTime(unit string) bool {
	base, _, _ := strings.Cut(unit, "/")
	switch base {
	case "ns", "µs", "us", "ms", "s", "ops", "op":
		return true
	}
	return false
}

func millis(ms float64) string { return micros(ms * 1000) }

// micros writes a time with three digits that count.
func micros(us float64) string {
	switch {
	case us == 0:
		return "0"
	case us < 1:
		return term.Number(us*1000) + " ns"
	case us < 1000:
		return term.Number(us) + " µs"
	case us < 1_000_000:
		return term.Number(us/1000) + " ms"
	default:
		return term.Number(us/1_000_000) + " s"
	}
}

// size writes sizes of entries exactly, and larger ones short.
func size(n float64) string {
	if n < 10<<10 {
		return term.Thousands(int64(math.Round(n))) + " B"
	}
	return term.Bytes(n)
}

// number writes whole numbers without a fraction.
func number(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1e15 {
		return term.Thousands(int64(v))
	}
	return term.Number(v)
}

func ratio(r float64) string { return term.Number(r) + " ×" }

func count(n int64) string { return term.Thousands(n) }

func direction(more bool) string {
	if more {
		return "more is better →"
	}
	return "← less is better"
}
