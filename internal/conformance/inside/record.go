package inside

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"

	"github.com/globaltx/globaltx/gtx"
)

// Record is one line of what a run reports.
type Record struct {
	// Event is "segment" (one has ended), "refused" (a statement was, with an
	// UnsupportedError), "conflict" (gtx.ErrConflict) or "lost" (a commit that was
	// aborted, or whose outcome is unknown, or leftovers that stay). "connected" is
	// written by package shim, in mode outside too: our driver has made a connection.
	Event string `json:"event"`
	Test  string `json:"test,omitempty"`

	// Of segments. End is "commit", "abort", "cut" (committed in mode abort because of
	// DDL) or "open" (aborted with a local transaction of the test still open).
	End    string `json:"end,omitempty"`
	Writes int    `json:"writes,omitempty"` // statements that may write
	Undo   int    `json:"undo,omitempty"`   // undo rows at its end: 0 if it wrote nothing
	Tables int    `json:"tables,omitempty"` // compared
	Rows   int    `json:"rows,omitempty"`   // compared
	// Differences are what the abort did not bring back.
	Differences []string `json:"differences,omitempty"`

	// Of refusals, conflicts and losses.
	Code   string `json:"code,omitempty"`
	Text   string `json:"text,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// recorder writes records. Safe for concurrent use.
type recorder struct {
	mu  sync.Mutex
	out io.Writer
	all []Record // for this package's tests
	err error
}

func (r *recorder) add(rec Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, rec)
	line, err := json.Marshal(rec)
	if err == nil {
		_, err = r.out.Write(append(line, '\n'))
	}
	r.err = errors.Join(r.err, err)
}

// failed tells whether something could not be recorded.
func (r *recorder) failed() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// statement records what an error of a statement says about us.
func (r *recorder) statement(test, text string, err error) {
	if err == nil {
		return
	}
	rec := Record{Test: test, Text: short(text), Reason: short(err.Error())}
	var refused *gtx.UnsupportedError
	switch {
	case errors.As(err, &refused):
		rec.Event, rec.Code = "refused", refused.Code
	case errors.Is(err, gtx.ErrConflict):
		rec.Event = "conflict"
	default:
		return
	}
	r.add(rec)
}

// short keeps a record readable: suites insert megabytes.
func short(s string) string {
	const most = 300
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.ToValidUTF8(s, "�")
}
