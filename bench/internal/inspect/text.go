package inspect

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/doppio-cache/doppio/bench/internal/term"
)

const clockFormat = "2006-01-02 15:04:05.000 MST"

// WriteText writes a finding for people.
func (f *Finding) WriteText(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(tw, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	line("key", "%q", f.Key)
	verdict := string(f.Verdict)
	if f.Why != "" {
		verdict += ": " + printable(f.Why)
	}
	line("verdict", "%s", verdict)
	if f.Bytes > 0 {
		memory := ""
		if f.MemoryBytes != nil {
			memory = ", in Redis's memory " + term.Bytes(float64(*f.MemoryBytes))
		}
		line("size", "%s%s", term.Bytes(float64(f.Bytes)), memory)
		life := "never"
		if f.PTTLms != nil {
			life = "in " + millis(*f.PTTLms)
		}
		line("Redis removes it", "%s", life)
	}
	if f.Version != nil {
		line("record's version", "%d", *f.Version)
	}
	if f.Record != nil {
		f.Record.lines(line)
	}
	f.Lane.lines(line)
	if f.Holders != nil {
		f.Holders.lines(line)
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("inspect: %w", err)
	}
	if f.Record == nil || f.Record.Payload == nil || f.Record.Payload.Value == "" {
		return nil
	}
	cut := ""
	if f.Record.Payload.ValueCut {
		cut = " (its beginning)"
	}
	if _, err := fmt.Fprintf(w, "\nvalue%s:\n%s\n", cut, f.Record.Payload.Value); err != nil {
		return fmt.Errorf("inspect: %w", err)
	}
	return nil
}

func (r *Record) lines(line func(name, format string, args ...any)) {
	line("kind", "%s", r.Kind)
	line("created", "%s, %s ago by this machine's clock", r.Created.Format(clockFormat), millis(r.AgeMs))
	if r.Lease != nil {
		awaited := "nobody is known to wait"
		if r.Lease.Awaited {
			awaited = "somebody waits for its end"
		}
		line("lease", "held by %s since %s, %s left unless it is renewed, %s", r.Lease.Holder, r.Lease.Since.Format(clockFormat), millis(r.Lease.LeftMs), awaited)
	} else {
		life := "without end"
		if r.TTLms > 0 {
			life = fmt.Sprintf("%s, %s left", millis(r.TTLms), millis(max(0, r.LeftMs)))
		}
		line("TTL", "%s", life)
		line("grace", "%s", millis(r.GraceMs))
		line("token", "%s", r.Token)
		line("its load took", "%s", millis(r.LoadMs))
	}
	if r.Stamp == "0-0" {
		line("stamp", "none: no announcement was known")
	} else {
		line("stamp", "%s, %s", r.Stamp, r.StampAt.Format(clockFormat))
	}
	for _, t := range r.Tags {
		state := "current"
		switch {
		case !t.Current && t.Now == "":
			state = "has no version now"
		case !t.Current:
			state = "is " + t.Now + " now"
		}
		line("tag", "%q %s, %s", t.Name, t.Version, state)
	}
	if p := r.Payload; p != nil {
		line("payload", "%s", p.describe())
	}
}

// describe says how a value is stored.
func (p *Payload) describe() string {
	parts := []string{term.Bytes(float64(p.Bytes)), printable(p.Codec)}
	switch {
	case p.Codec == "number":
		return strings.Join(parts, ", ")
	case p.DecodedBytes > 0:
		parts = append(parts, fmt.Sprintf("compressed with %s from %s", p.Compression, term.Bytes(float64(p.DecodedBytes))))
	default:
		parts = append(parts, "not compressed")
	}
	if p.Encrypted {
		parts = append(parts, "encrypted with key "+strconv.Quote(p.KeyID))
	} else {
		parts = append(parts, "not encrypted")
	}
	if p.Nil {
		parts = append(parts, "nil")
	}
	if p.Note != "" {
		parts = append(parts, "not shown: "+p.Note)
	}
	return strings.Join(parts, ", ")
}

func (l *Lane) lines(line func(name, format string, args ...any)) {
	lanes := "of " + strconv.Itoa(l.Lanes)
	if l.Lanes == 0 {
		lanes = "of an unknown number: no instance has come to this namespace"
	}
	line("lane", "%d %s", l.Index, lanes)
	if l.NewestAt == nil {
		line("lane's newest", "none: it is empty")
	} else {
		line("lane's newest", "%s, %s, of %s kept", l.Newest, l.NewestAt.Format(clockFormat), term.Thousands(l.Length))
	}
	if l.Floor == "" {
		line("cache's floor", "none")
	} else {
		line("cache's floor", "%s", l.Floor)
	}
	if l.Subscribers != nil {
		line("subscribers", "%d", *l.Subscribers)
	} else {
		line("subscribers", "unknown: it may not be asked")
	}
}

func millis(ms int64) string { return (time.Duration(ms) * time.Millisecond).String() }
