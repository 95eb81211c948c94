package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/doppio-cache/doppio/bench/internal/result"
)

// headlineRow chooses the row for the picture that matters: a local hit by Get, of a struct, as realistic as there is.
func headlineRow(rows []result.Row) *result.Row {
	var best *result.Row
	most := 0
	for i := range rows {
		r := &rows[i]
		name := strings.ToLower(r.Name)
		if !strings.Contains(strings.ToLower(r.Group), "local hit") || !slices.ContainsFunc(r.Cells, func(c result.Cell) bool { return c.Ratio.N > 0 }) {
			continue
		}
		points := 1
		for word, worth := range map[string]int{"load": -8, "getorset": -8, "get": 4, "struct": 4, "zipf": 2, "1 caller": 1} {
			if strings.Contains(name, word) {
				points += worth
			}
		}
		if best == nil || points > most {
			best, most = r, points
		}
	}
	return best
}

// headline puts the row at the page's top, the cheapest first, and says what it shows.
func (b *builder) headline(r *result.Row, all []result.Subject) {
	sorted := *r
	sorted.Cells = slices.Clone(r.Cells)
	slices.SortStableFunc(sorted.Cells, func(x, y result.Cell) int { return cmp.Compare(x.Ratio.Median, y.Ratio.Median) })
	ids := b.ids
	b.ids = identifiers{}
	ch := b.rowChart(&sorted)
	b.ids = ids
	ch.ID = "local-hit"
	ids[ch.ID]++
	ch.Title = "What a local hit costs"
	ch.Sub = fmt.Sprintf("%s: time as a ratio to that of %s, and the time itself", r.Name, r.Baseline)
	for i := range ch.Categories {
		c := &ch.Categories[i]
		if cl := r.Cell(c.Name); cl != nil {
			c.Also = inUnit(cl.Value.Median, r.Unit)
		}
		if k := slices.IndexFunc(all, func(s result.Subject) bool { return s.Name == c.Name }); k >= 0 {
			c.Sub = tiers(all[k])
		}
	}
	ch.Alternative = alternative(ch)
	b.page.Headline = ch
	b.page.Facts = append(b.page.Facts, localFacts(r)...)
}

// tiers is what a subject's description begins with, where that is short enough to stand below a name: "both tiers".
func tiers(s result.Subject) string {
	begin, _, _ := strings.Cut(s.About, ",")
	begin, _, _ = strings.Cut(begin, ":")
	begin, _, _ = strings.Cut(begin, " and ")
	if len(begin) > 30 || begin == "" {
		return ""
	}
	if begin = strings.ToLower(begin); isOurs(s.Name) && strings.Contains(s.About, "coherent") {
		begin += ", coherent"
	}
	return begin
}

// localFacts are what the headline says of ours in numbers.
func localFacts(r *result.Row) []fact {
	for _, c := range r.Cells {
		if !isOurs(c.Subject) || c.Ratio.N == 0 {
			continue
		}
		label := fmt.Sprintf("of %s's time for a local hit that is checked for coherence: %s", r.Baseline, inUnit(c.Value.Median, r.Unit))
		facts := []fact{{Value: ratio(c.Ratio.Median), Label: label}}
		if c.Allocs != nil {
			facts = append(facts, fact{Value: number(math.Round(*c.Allocs*10) / 10), Label: "allocations for it"})
		}
		return facts
	}
	return nil
}
