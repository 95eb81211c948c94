package trace

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"unicode/utf8"
)

// peek returns the first bytes, and consumes none. whole says that they are all there is.
func peek(r *bufio.Reader) (sample []byte, whole bool, err error) {
	sample, err = r.Peek(r.Size())
	if err != nil && !errors.Is(err, io.EOF) && len(sample) < 8 {
		return nil, false, err
	}
	// Another error lies further on, and there is enough to tell the format by; the decoder will meet it and say where.
	return sample, err != nil, nil
}

// Detect tells the format of a trace by how it begins; whole says that the sample is all there is.
//
// Content that is text is [ARC] if each line begins with two or more decimal numbers, [Twitter] if each has the seven
// columns and one of the operations of those traces, [LIRS] if it is numbers with lines of a single asterisk among them,
// [CSV] if it is a table whose header names the key, or one in libCacheSim's order (time, key, size). A table that may
// have its keys anywhere is [ErrColumn]; all other text is [Lines].
//
// The rest is integers, and what tells 32 from 64 bits is how words of 32 bits repeat. In a stream of 64-bit integers, high words
// stand at even positions and low ones at odd positions, and a word that repeats keeps to its side, be the keys small
// numbers (high words all zero) or hashes (the same key brings the same two words). In a stream of 32-bit integers a
// popular key turns up on both sides. If too few words repeat, high words that are nearly all zero or nearly all ones
// mean 64 bits, and words that are all small, or an odd number of them, mean 32 bits. Failing that: [ErrAmbiguous].
func Detect(sample []byte, whole bool) (Format, error) {
	if isText(sample, whole) {
		return detectText(sample, whole)
	}
	words := make([]uint32, len(sample)/4)
	for i := range words {
		words[i] = binary.BigEndian.Uint32(sample[4*i:])
	}
	if format := byRepetition(words); format != "" {
		return format, nil
	}
	if format := byMagnitude(words); format != "" {
		return format, nil
	}
	if whole && len(sample)%8 == 4 {
		return Int32, nil
	}
	return "", ErrAmbiguous
}

const (
	minRepeated = 16 // words that must repeat before it means anything
	maxMixed    = 10 // percent of them that may change sides in a stream of 64-bit integers
)

// byRepetition compares on which sides, even or odd positions, repeated words stand. Half of those that occur
// twice change sides in a stream of 32-bit integers, nearly none do in one of 64-bit integers.
func byRepetition(words []uint32) Format {
	type count struct{ even, odd int }
	counts := make(map[uint32]count, len(words))
	for i, w := range words {
		c := counts[w]
		if i%2 == 0 {
			c.even++
		} else {
			c.odd++
		}
		counts[w] = c
	}
	repeated, mixed := 0, 0
	for _, c := range counts {
		if c.even+c.odd < 2 {
			continue
		}
		repeated++
		if c.even > 0 && c.odd > 0 {
			mixed++
		}
	}
	switch {
	case repeated < minRepeated:
		return ""
	case mixed*100 > repeated*maxMixed:
		return Int32
	default:
		return Int64
	}
}

// byMagnitude looks for the high words of small 64-bit integers, and for small 32-bit ones.
func byMagnitude(words []uint32) Format {
	pairs := len(words) / 2
	signs, small := 0, 0
	for i, w := range words {
		if i%2 == 0 && i/2 < pairs && (w == 0 || w == 0xffffffff) {
			signs++
		}
		if w < 1<<24 {
			small++
		}
	}
	switch {
	case pairs > 1 && signs*10 >= pairs*9:
		return Int64
	case len(words) > 0 && small*10 >= len(words)*9:
		return Int32
	default:
		return ""
	}
}

// isText holds for UTF-8 without control characters; an empty trace is text of no lines.
func isText(sample []byte, whole bool) bool {
	for len(sample) > 0 {
		r, size := utf8.DecodeRune(sample)
		if r == utf8.RuneError && size <= 1 {
			// The sample may end inside a character.
			return !whole && !utf8.FullRune(sample)
		}
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0x7f {
			return false
		}
		sample = sample[size:]
	}
	return true
}

func detectText(sample []byte, whole bool) (Format, error) {
	switch {
	case isARC(sample, whole):
		return ARC, nil
	case isTwitter(sample, whole):
		return Twitter, nil
	case isLIRS(sample, whole):
		return LIRS, nil
	}
	table, err := byColumns(sample, whole)
	switch {
	case err != nil:
		return "", err
	case table:
		return CSV, nil
	default:
		return Lines, nil
	}
}

func isARC(sample []byte, whole bool) bool {
	return eachLine(sample, whole, func(line []byte) bool {
		_, _, err := parseARC(line)
		return err == nil
	})
}

// eachLine says whether there are whole lines in a sample, and each that is not blank fits.
func eachLine(sample []byte, whole bool, fits func(line []byte) bool) bool {
	lines := 0
	for line := range bytes.Lines(wholeLines(sample, whole)) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if !fits(line) {
			return false
		}
		lines++
	}
	return lines > 0
}
