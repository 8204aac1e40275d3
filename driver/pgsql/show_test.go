package pgsql

import (
	"database/sql"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

// TestShowAndForceEveryType: a value prints alike from the image and from the row,
// and an operator's write brings back exactly what was there, identities included.
func TestShowAndForceEveryType(t *testing.T) {
	onEach(t, func(t *testing.T) {
		b := wide(t)
		rows := len(strings.Split(b.read("SELECT 1 FROM keep"), "\n"))
		b.begin(1, hostile...).exec(int64(rows), "UPDATE wide SET late = 'x'").commit()
		b.run("UPDATE wide SET late = E'a \"quoted\"\\n\\\\ ż'")

		db, err := sql.Open("postgres", b.dsn)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		res, err := undo.NewResolver(undo.Config{
			DB: db, Dialect: Dialect{}, Coordinator: func() gtx.Coordinator { return nil }, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := res.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, err := res.Show(t.Context(), xidOf(1))
		if err != nil || len(got) != rows {
			t.Fatalf("%d rows, %v", len(got), err)
		}
		for _, r := range got {
			if !r.Dirty || !r.Exists || len(r.Key) != 2 || *r.Key[1].Value != "Key" {
				t.Fatalf("%+v", r)
			}
			for _, c := range r.Columns {
				switch {
				case c.Column == "gen":
					t.Error("a generated column is shown")
				case c.Column == "late":
					if *c.Before != "added" || *c.Now != "a \"quoted\"\n\\ ż" {
						t.Errorf("late: before %q, now %q", *c.Before, *c.Now)
					}
				case (c.Before == nil) != (c.Now == nil) || c.Before != nil && *c.Before != *c.Now:
					t.Errorf("%s: before %v, now %v", c.Column, c.Before, c.Now)
				}
			}
		}

		var none []string
		for i := range wideTable {
			none = append(none, fmt.Sprintf("c%d = NULL", i))
		}
		b.run("UPDATE wide SET "+strings.Join(none, ", "), `DELETE FROM wide WHERE "Key 1" > 1`)
		done, err := res.Operate(t.Context(), undo.Operation{XID: xidOf(1), Action: undo.ForceBefore, Who: "ops", Reason: "test", AssumeAborted: true})
		if err != nil || done.Left != nil || len(done.Rows) != rows {
			t.Fatalf("%d rows, %v, %v", len(done.Rows), done.Left, err)
		}
		b.same()
	})
}
