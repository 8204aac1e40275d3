package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

// doctorReport is the JSON of gtx doctor. Fields are added, never changed.
type doctorReport struct {
	Database string         `json:"database"` // DSN without password
	Dialect  string         `json:"dialect"`
	OK       bool           `json:"ok"` // what exit code 0 says
	Checks   []undo.Finding `json:"checks"`
	Tables   []doctorTable  `json:"tables"`
}

// doctorTable is one table of the report. Sizes are estimates, null where the
// server has none.
type doctorTable struct {
	Name        string         `json:"name"`
	Kind        string         `json:"kind,omitempty"`
	Protected   bool           `json:"protected"`
	Findings    []undo.Finding `json:"findings"`
	Rows        *int64         `json:"rows"`
	RowBytes    *int64         `json:"row_bytes"`
	MaxRowBytes *int64         `json:"max_row_bytes"`
	counts      bool           // for the exit code
}

func newDoctorTable(rel undo.Relation, found ...undo.Finding) doctorTable {
	size := func(n int64) *int64 {
		if n < 0 {
			return nil
		}
		return &n
	}
	return doctorTable{
		Name: rel.Name, Kind: rel.Kind, Protected: !failed(found), Findings: append([]undo.Finding{}, found...),
		Rows: size(rel.Count), RowBytes: size(rel.Width), MaxRowBytes: size(rel.Widest),
	}
}

func failed(found []undo.Finding) bool {
	for _, f := range found {
		if f.Level == undo.Fail {
			return true
		}
	}
	return false
}

// refuse notes why nothing can be captured, or gives err back when it does not say.
func (r *doctorReport) refuse(err error) error {
	var u *gtx.UnsupportedError
	if !errors.As(err, &u) {
		return err
	}
	r.Checks = append(r.Checks, undo.Finding{Name: u.Code, Level: undo.Fail, Reason: u.Reason, Hint: u.Hint})
	return nil
}

// judge fills OK.
func (r *doctorReport) judge() *doctorReport {
	r.OK = !failed(r.Checks)
	for _, t := range r.Tables {
		if t.counts && !t.Protected {
			r.OK = false
		}
	}
	return r
}

// summary is one line.
func (r *doctorReport) summary() string {
	good, all := 0, 0
	for _, t := range r.Tables {
		if !t.counts {
			continue
		}
		all++
		if t.Protected {
			good++
		}
	}
	s := fmt.Sprintf("%d of %d tables protected", good, all)
	if failed(r.Checks) {
		s += ", and none before the failed checks are settled"
	}
	return s
}

func (r *doctorReport) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

func (r *doctorReport) writeText(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s\n\n", visible(r.Database))
	fmt.Fprint(tw, "\tCHECK\tVALUE\n")
	for _, f := range r.Checks {
		both := visible(f.Value) + ", " + why(f)
		switch {
		case f.Value == "":
			both = why(f)
		case f.Reason == "":
			both = visible(f.Value)
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\n", mark(f.Level), visible(f.Name), both)
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if len(r.Tables) > 0 {
		fmt.Fprint(tw, "\n\tTABLE\tROWS\tROW\tMAX ROW\tSTATE\n")
	}
	for _, t := range r.Tables {
		sizes := fmt.Sprintf("%s\t%s\t%s", estimateOf(t.Rows), bytesOf(t.RowBytes), bytesOf(t.MaxRowBytes))
		level, words := undo.Info, "protected"
		if !t.Protected {
			level, words = undo.Fail, "not protected"
		}
		for _, f := range t.Findings {
			if f.Level == undo.Warn && level == undo.Info {
				level = undo.Warn
			}
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s", mark(level), visible(t.Name), sizes, words)
		for i, f := range t.Findings {
			if i > 0 {
				fmt.Fprint(tw, "\n\t\t\t\t\t")
			}
			fmt.Fprintf(tw, "; %s: %s", visible(f.Name), why(f))
		}
		fmt.Fprintln(tw)
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if _, err := fmt.Fprintf(w, "\n%s\n", r.summary()); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// mark begins a line.
func mark(l undo.Level) string {
	if l == undo.Info {
		return "ok"
	}
	return string(l)
}

// why is the reason with what to do.
func why(f undo.Finding) string {
	if f.Hint == "" {
		return visible(f.Reason)
	}
	return visible(f.Reason) + ". Do: " + visible(f.Hint)
}

// visible keeps names of the catalogue from moving the cursor or the columns.
func visible(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

func estimateOf(n *int64) string {
	if n == nil {
		return "?"
	}
	return "~" + strconv.FormatInt(*n, 10)
}

func bytesOf(n *int64) string {
	if n == nil {
		return "?"
	}
	if *n < 1024 {
		return strconv.FormatInt(*n, 10) + " B"
	}
	v, unit := float64(*n)/1024, "KiB"
	for _, u := range []string{"MiB", "GiB", "TiB"} {
		if v < 1024 {
			break
		}
		v, unit = v/1024, u
	}
	return strconv.FormatFloat(v, 'f', 1, 64) + " " + unit
}
