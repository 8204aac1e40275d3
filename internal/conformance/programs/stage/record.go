package stage

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// recordEnv names the file for what `make conformance` wants to know beside the outcome.
const recordEnv = "GTX_CONFORMANCE_RECORD"

// record is a line of it, as inside.Record of module conformance has them.
type record struct {
	Event  string `json:"event"` // "connected" or "segment"
	Test   string `json:"test,omitempty"`
	End    string `json:"end,omitempty"` // the mode
	Undo   int    `json:"undo,omitempty"`
	Tables int    `json:"tables,omitempty"` // compared
	Rows   int    `json:"rows,omitempty"`   // compared
}

func (r record) write(t testing.TB) {
	t.Helper()
	name := os.Getenv(recordEnv)
	if name == "" {
		return
	}
	line, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(append(line, '\n')); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// segment tells of a global transaction that has ended, and in mode abort of what is
// compared with the rows before it.
func (d *database) segment(ctx context.Context, t testing.TB, mode string, undo int, before []string) {
	t.Helper()
	r := record{Event: "segment", Test: t.Name(), End: mode, Undo: undo}
	if mode == Abort {
		tables, err := d.tables(ctx)
		if err != nil {
			t.Fatalf("list tables: %v", err)
		}
		for _, table := range tables {
			if !strings.HasPrefix(table, "gtx_") {
				r.Tables++
			}
		}
		r.Rows = len(before)
	}
	r.write(t)
}
