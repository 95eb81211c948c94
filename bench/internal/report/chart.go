package report

import (
	"math"
	"regexp"
	"strconv"
	"strings"
)

// chart is what assets/report.js draws. Its fields are that script's input.
type chart struct {
	ID    string `json:"id"`
	Kind  string `json:"kind"`  // "bars", "dots" or "lines"
	Title string `json:"title"` // plain text, as is every other string here
	Sub   string `json:"sub,omitempty"`
	X     axis   `json:"x"` // of bars and dots, that of the values
	Y     axis   `json:"y"`
	// Categories are those of the vertical axis of bars and dots, or of the horizontal one of lines whose X is no number.
	Categories []category `json:"categories,omitempty"`
	Series     []series   `json:"series"`
	Marks      []mark     `json:"marks,omitempty"`
	// Alternative says in a sentence what the chart shows, for those who do not see it.
	Alternative string `json:"alternative"`

	Table table    `json:"-"` // the same in numbers
	Notes []string `json:"-"` // what belongs below the chart
}

// axis is one of a chart.
type axis struct {
	Name string `json:"name,omitempty"`
	Unit string `json:"unit,omitempty"` // "×", "ns", "µs", "ms", "bytes", "%", or what follows a number
	Log  bool   `json:"log,omitempty"`
	From one    `json:"from,omitempty"` // where bars begin, on a logarithmic axis; nil: at its end
}

// one is an optional number.
type one = *float64

// category is a place on an axis that has names.
type category struct {
	Name string `json:"name"`
	Sub  string `json:"sub,omitempty"`  // below the name
	Note string `json:"note,omitempty"` // its value, written at the other end of the bar
	Also string `json:"also,omitempty"` // a second value beside the first
	Ours bool   `json:"ours,omitempty"`
}

// series is what belongs together.
type series struct {
	Name   string  `json:"name"`
	Ours   bool    `json:"ours,omitempty"`
	Style  string  `json:"style,omitempty"` // "dashed", "dots", or solid
	Points []point `json:"points"`
}

// point is one value. Of bars and dots, X is the value and Y the category's index.
type point struct {
	X    float64 `json:"x"`
	Y    float64 `json:"y"`
	Low  one     `json:"low,omitempty"` // spread of the value
	High one     `json:"high,omitempty"`
	Text string  `json:"text"` // the value for people, with its unit
	// Hollow points of lines are not quite what they are beside.
	Hollow bool `json:"hollow,omitempty"`
}

// mark is a line across the chart.
type mark struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
}

// logarithmic says whether an axis had better be: values, all above 0, that differ by much.
func logarithmic(values []float64) bool {
	low, high := math.Inf(1), 0.0
	for _, v := range values {
		if v <= 0 {
			return false
		}
		low, high = min(low, v), max(high, v)
	}
	return len(values) > 1 && high/low > 12
}

// isOurs tells the library from its peers by its name.
func isOurs(name string) bool { return strings.HasPrefix(strings.ToLower(name), "doppio") }

var notInIDs = regexp.MustCompile(`[^a-z0-9]+`)

// identifiers gives each chart and section an id of its own that is good for links and for file names.
type identifiers map[string]int

func (ids identifiers) of(parts ...string) string {
	id := strings.Trim(notInIDs.ReplaceAllString(strings.ToLower(strings.Join(parts, "-")), "-"), "-")
	if id == "" {
		id = "part"
	}
	if len(id) > 60 {
		id = strings.Trim(id[:60], "-")
	}
	ids[id]++
	if n := ids[id]; n > 1 {
		return ids.of(id, strconv.Itoa(n))
	}
	return id
}
