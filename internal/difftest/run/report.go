package run

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/globaltx/globaltx/internal/difftest"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

// Report is what a run counted. Valid is short for accepted by the server.
type Report struct {
	Name       string `json:"name"`
	Texts      int    `json:"texts"`
	Understood int    `json:"understood"` // by sqltext
	Valid      int    `json:"valid"`      // of these, what the server accepts: Equal, Unread and Misread
	Invalid    int    `json:"invalid"`    // of these, what the server rejects
	Equal      int    `json:"equal"`
	Unread     int    `json:"unread"`
	Misread    int    `json:"misread"`
	// InvalidDiffers are the differences in texts that the server rejects. They
	// harm nobody and are no misreads.
	InvalidDiffers int                 `json:"invalid_differs"`
	Kinds          map[string]int      `json:"kinds"`   // what was Equal, by kind
	Refused        map[string]*Refused `json:"refused"` // by code

	Misreads       []Case `json:"misreads,omitempty"` // the first of them, shrunk
	Unreads        []Case `json:"unreads,omitempty"`  // some
	DiffersSamples []Case `json:"invalid_differs_samples,omitempty"`
}

// Refused counts the refusals of a code.
type Refused struct {
	Texts   int      `json:"texts"`
	Asked   int      `json:"asked"` // of these, what the server was asked about
	Valid   int      `json:"valid"` // of those asked, what it accepts
	Samples []string `json:"samples,omitempty"`
}

// Case is a text with what was found.
type Case struct {
	Text   string `json:"text"`
	Detail string `json:"detail"`
}

// How many texts a report keeps of each sort.
const (
	keptMisreads = 50
	keptAlike    = 3
	keptUnreads  = 30
	keptRefused  = 5
)

func newReport(c Config) *Report {
	return &Report{Name: c.Name, Kinds: make(map[string]int), Refused: make(map[string]*Refused)}
}

// Compared is how many statements the server accepts and the oracle read.
func (r *Report) Compared() int { return r.Equal + r.Misread }

// RefusedTexts is how many texts sqltext refused.
func (r *Report) RefusedTexts() (n int) {
	for _, x := range r.Refused {
		n += x.Texts
	}
	return n
}

func (r *Report) refusal(code string) *Refused {
	if r.Refused[code] == nil {
		r.Refused[code] = new(Refused)
	}
	return r.Refused[code]
}

func (r *Report) misread(text, detail string) {
	r.Misread++
	r.keepMisread(Case{text, detail})
}

// keepMisread keeps a few of each detail, so that one fault does not hide others.
func (r *Report) keepMisread(c Case) {
	alike := 0
	for _, k := range r.Misreads {
		if k == c {
			return
		}
		if k.Detail == c.Detail {
			alike++
		}
	}
	if alike < keptAlike {
		r.Misreads = keep(r.Misreads, keptMisreads, c)
	}
}

func (r *Report) count(p pending, valid bool) {
	if p.refusal != "" {
		n := r.refusal(p.refusal)
		n.Asked++
		if valid {
			n.Valid++
			n.Samples = keep(n.Samples, keptRefused, p.text)
		}
		return
	}
	if !valid {
		r.Invalid++
		if p.verdict == difftest.Misread {
			r.InvalidDiffers++
			r.DiffersSamples = keep(r.DiffersSamples, keptUnreads, Case{p.text, p.detail})
		}
		return
	}
	r.Valid++
	switch p.verdict {
	case difftest.Equal:
		r.Equal++
		r.Kinds[kindName(p.kind)]++
	case difftest.Unread:
		r.Unread++
		r.Unreads = keep(r.Unreads, keptUnreads, Case{p.text, p.detail})
	default:
		r.misread(p.text, p.detail)
	}
}

func keep[T any](list []T, most int, more ...T) []T {
	return append(list, more[:max(0, min(len(more), most-len(list)))]...)
}

func (r *Report) add(o *Report) {
	r.Texts += o.Texts
	r.Understood += o.Understood
	r.Valid += o.Valid
	r.Invalid += o.Invalid
	r.Equal += o.Equal
	r.Unread += o.Unread
	r.Misread += o.Misread
	r.InvalidDiffers += o.InvalidDiffers
	for k, n := range o.Kinds {
		r.Kinds[k] += n
	}
	for code, n := range o.Refused {
		to := r.refusal(code)
		to.Texts += n.Texts
		to.Asked += n.Asked
		to.Valid += n.Valid
		to.Samples = keep(to.Samples, keptRefused, n.Samples...)
	}
	for _, c := range o.Misreads {
		r.keepMisread(c)
	}
	r.Unreads = keep(r.Unreads, keptUnreads, o.Unreads...)
	r.DiffersSamples = keep(r.DiffersSamples, keptUnreads, o.DiffersSamples...)
}

// String is the report as a table.
func (r *Report) String() string {
	var b strings.Builder
	line := func(what string, n int) { fmt.Fprintf(&b, "  %-34s %10d\n", what, n) }
	fmt.Fprintf(&b, "%s\n", r.Name)
	line("texts", r.Texts)
	line("understood", r.Understood)
	line("  rejected by the server", r.Invalid)
	line("    of these, differing", r.InvalidDiffers)
	line("  accepted by the server", r.Valid)
	line("    not read by the oracle", r.Unread)
	line("    equal", r.Equal)
	for _, k := range slices.Sorted(maps.Keys(r.Kinds)) {
		line("      "+k, r.Kinds[k])
	}
	line("    MISREAD", r.Misread)
	line("refused", r.RefusedTexts())
	for _, code := range slices.Sorted(maps.Keys(r.Refused)) {
		n := r.Refused[code]
		fmt.Fprintf(&b, "  %-34s %10d", "  "+code, n.Texts)
		if n.Asked > 0 {
			fmt.Fprintf(&b, "   %d of %d asked are valid", n.Valid, n.Asked)
		}
		b.WriteByte('\n')
	}
	for _, c := range r.Misreads {
		fmt.Fprintf(&b, "MISREAD %q\n  %s\n", c.Text, c.Detail)
	}
	return b.String()
}

func kindName(k sqltext.Kind) string {
	return [...]string{
		"unknown", "select", "show", "explain", "insert", "update", "delete", "merge", "savepoint", "rollback to",
		"release", "several",
	}[min(k, sqltext.Several)]
}
