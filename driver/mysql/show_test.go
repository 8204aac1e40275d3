package mysql

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

// TestShowAndForceEveryType: a value prints alike from the image and from the row,
// and an operator's write brings back exactly what was there.
func TestShowAndForceEveryType(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		types := typesOf(!strings.Contains(d.one("SELECT @@version"), "MariaDB"))
		var cols, none []string
		var stamped string // has ON UPDATE: would change with mark
		for i, c := range types {
			cols = append(cols, fmt.Sprintf("c%d %s", i, c.typ))
			none = append(none, fmt.Sprintf("c%d = NULL", i))
			if strings.Contains(c.typ, "ON UPDATE") {
				stamped = fmt.Sprintf("c%d = c%d", i, i)
			}
		}
		d.exec("CREATE TABLE a (id INT PRIMARY KEY, mark INT, " + strings.Join(cols, ", ") + ", g INT AS (id + 1) STORED) ROW_FORMAT=DYNAMIC")
		filler := d.branch(newXID(), "SET sql_mode='ALLOW_INVALID_DATES'", "SET time_zone='+00:00'")
		shown := map[string]string{} // by id and column
		rows := 0
		for i, c := range types {
			for _, v := range append(slices.Clone(c.values), "NULL") {
				rows++
				filler.plain(fmt.Sprintf("INSERT INTO a (id, c%d) VALUES (%d, %s)", i, rows, v))
				if want, ok := map[string]string{
					"ENUM 'b'": "b", "ENUM ''": "", "SET 'x,z'": "x,z", "SET ''": "", "BLOB 0x0001FF": "0x0001FF", "BIT(64) b'101'": "5",
					"VARCHAR(20) CHARACTER SET latin1 'é€'": "é€", "VARCHAR(20) CHARACTER SET utf16 '日本'": "日本", "CHAR(10) 'null'": "null",
					"TIMESTAMP NULL FROM_UNIXTIME(1)": "1970-01-01 00:00:01", "TIMESTAMP NULL 0": "0000-00-00 00:00:00",
					"DATE '2020-02-31'": "2020-02-31", "BIGINT UNSIGNED 18446744073709551615": "18446744073709551615",
				}[strings.NewReplacer("ENUM('','a','b')", "ENUM", "SET('x','y','z')", "SET").Replace(c.typ)+" "+v]; ok {
					shown[fmt.Sprintf("%d c%d", rows, i)] = want
				}
			}
		}
		want := d.checksum("a")
		b := d.branch(newXID(), "SET time_zone='-03:30'")
		b.must(int64(rows), "UPDATE a SET mark = 1, "+stamped)
		b.commit()
		outside := d.branch(newXID(), "SET sql_mode='ALLOW_INVALID_DATES'")
		outside.plain("UPDATE a SET mark = 2, " + stamped)

		res, err := undo.NewResolver(undo.Config{
			DB: d.two, Dialect: Dialect{}, Coordinator: func() gtx.Coordinator { return nil }, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := res.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, err := res.Show(t.Context(), b.xid)
		if err != nil || len(got) != rows {
			t.Fatalf("%d rows, %v", len(got), err)
		}
		for _, r := range got {
			if !r.Dirty || !r.Exists || len(r.Columns) != len(types)+2 {
				t.Fatalf("%+v", r)
			}
			for _, c := range r.Columns {
				before, now := "NULL", "NULL"
				if c.Before != nil {
					before = *c.Before
				}
				if c.Now != nil {
					now = *c.Now
				}
				if (before == now) == (c.Column == "mark") {
					t.Errorf("row %s, %s: before %.80q, now %.80q", *r.Key[0].Value, c.Column, before, now)
				}
				at := *r.Key[0].Value + " " + c.Column
				if want, ok := shown[at]; ok && want != before {
					t.Errorf("row %s: got %q, want %q", at, before, want)
				}
				delete(shown, at)
			}
		}
		if len(shown) > 0 {
			t.Errorf("not shown: %v", shown)
		}

		outside.plain("UPDATE a SET " + strings.Join(none, ", "))
		outside.plain("DELETE FROM a WHERE id % 2 = 0")
		done, err := res.Operate(t.Context(), undo.Operation{XID: b.xid, Action: undo.ForceBefore, Who: "ops", Reason: "test", AssumeAborted: true})
		if err != nil || done.Left != nil || len(done.Rows) != rows {
			t.Fatalf("%d rows, %v, %v", len(done.Rows), done.Left, err)
		}
		if got := d.checksum("a"); got != want {
			t.Errorf("checksum %s, want %s", got, want)
		}
	})
}
