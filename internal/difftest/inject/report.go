package inject

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Where the texts of a probe come from.
const (
	Labels  = "labels"  // the corpus, against its labels
	Grammar = "grammar" // generated statements, against what the generator knows
	Oracle  = "oracle"  // corpus, generated statements, mutants and sweep, against the reference parser
)

// Report is what a probe of one build of proxy/sqltext says. Two probes of the
// same build say the same.
type Report struct {
	Texts int `json:"texts"` // judged
	// Wrong has what was read wrong: by source and target, by text, what is wrong. A
	// panic is wrong, and so is the refusal of a text that a label understands. No
	// server is asked, so a mutant here may be one that no server accepts.
	Wrong map[string]map[string]string `json:"wrong"`
	// Refused counts refusals by source and target and code.
	Refused map[string]map[string]int `json:"refused"`
}

// NewReport gives an empty one.
func NewReport() *Report {
	return &Report{Wrong: map[string]map[string]string{}, Refused: map[string]map[string]int{}}
}

// AddWrong notes a text that was read wrong.
func (r *Report) AddWrong(source, target, text, detail string) {
	key := source + " " + target
	if r.Wrong[key] == nil {
		r.Wrong[key] = map[string]string{}
	}
	r.Wrong[key][text] = detail
}

// AddRefused counts a refusal.
func (r *Report) AddRefused(source, target, code string) {
	key := source + " " + target
	if r.Refused[key] == nil {
		r.Refused[key] = map[string]int{}
	}
	r.Refused[key][code]++
}

// Catch is how a bug was seen.
type Catch struct {
	Wrong   map[string]int // by source, how many texts are wrong that were not
	Refused int            // how many codes of a source and target count other than before
	Example string         // a wrong text, the shortest
	Detail  string         // what is wrong with it
}

// Seen tells whether there is anything to see.
func (c Catch) Seen() bool { return len(c.Wrong) > 0 || c.Refused > 0 }

// How says by what the bug was caught: misread, or refusals alone.
func (c Catch) How() string {
	if len(c.Wrong) == 0 {
		if c.Refused == 0 {
			return "NOT CAUGHT"
		}
		return fmt.Sprintf("refusals (%d counts)", c.Refused)
	}
	var by []string
	for _, source := range slices.Sorted(maps.Keys(c.Wrong)) {
		by = append(by, fmt.Sprintf("%s %d", source, c.Wrong[source]))
	}
	return "misread (" + strings.Join(by, ", ") + ")"
}

// Against tells what a report has that that of the undamaged build has not.
func (r *Report) Against(baseline *Report) Catch {
	c := Catch{Wrong: map[string]int{}}
	for _, key := range slices.Sorted(maps.Keys(r.Wrong)) {
		source, _, _ := strings.Cut(key, " ")
		for _, text := range slices.Sorted(maps.Keys(r.Wrong[key])) {
			if _, before := baseline.Wrong[key][text]; before {
				continue
			}
			c.Wrong[source]++
			if c.Example == "" || len(text) < len(c.Example) {
				c.Example, c.Detail = text, r.Wrong[key][text]
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(union(r.Refused, baseline.Refused))) {
		for code := range union(r.Refused[key], baseline.Refused[key]) {
			if r.Refused[key][code] != baseline.Refused[key][code] {
				c.Refused++
			}
		}
	}
	return c
}

func union[V any](a, b map[string]V) map[string]V {
	all := maps.Clone(a)
	if all == nil {
		all = map[string]V{}
	}
	maps.Copy(all, b)
	return all
}
