package mysql

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/internal/testserver"
)

// returningCases are for MariaDB: MySQL has no RETURNING.
func returningCases() []sameCase {
	const touched = "UPDATE a SET v = v + 5"
	cases := []sameCase{
		{text: "DELETE FROM a WHERE v > ? RETURNING id, name, v * ? AS twice", args: []any{1, 2}},
		{text: "DELETE FROM a ORDER BY id DESC LIMIT 2 RETURNING a.* -- end", before: touched},
		{text: "DELETE FROM a WHERE id > 100 RETURNING id", free: true},
		{text: "DELETE FROM a RETURNING id, (SELECT COUNT(*) FROM src) AS n", before: "INSERT INTO a (id) VALUES (70)"},
		{text: "INSERT INTO a (name, v) VALUES (?, 1), ('y', NULL) RETURNING id, name", args: []any{"é"}, free: true},
		{text: "INSERT INTO a SET id = 9, name = 'x' RETURNING *", free: true},
		{text: "INSERT INTO a () VALUES () RETURNING id, v", free: true},
		{text: "INSERT INTO a (id, name) VALUES (2, 'x') RETURNING v", before: "DELETE FROM a WHERE id = 2", free: true},
		{text: "INSERT IGNORE INTO a (id, name) VALUES (1, 'x'), (8, 'y'), (9, 'y') RETURNING id, ?", args: []any{"z"}},
		{text: "INSERT INTO a (id, name, v) VALUES (1, 'x', 9), (8, 'y', 1) ON DUPLICATE KEY UPDATE v = VALUES(v) + ? RETURNING id, v", args: []any{1}},
		{text: "INSERT INTO a (id, name, v) VALUES (1, 'a', 1) ON DUPLICATE KEY UPDATE v = VALUES(v) RETURNING id"},
		{text: "INSERT INTO a (id, name) SELECT id + 30, name FROM src RETURNING id, name, v", free: true},
		{text: "INSERT INTO a (name) SELECT name FROM src RETURNING id", free: true},
		{text: "INSERT INTO a (name) SELECT name FROM src WHERE FALSE RETURNING id", free: true},
		{text: "INSERT IGNORE INTO a (id, name) SELECT id, name FROM src RETURNING id"},
		{text: "INSERT INTO a (id, name) SELECT id, name FROM src ON DUPLICATE KEY UPDATE v = 50 RETURNING id, v"},
		{text: "INSERT INTO wide (k, f, d, m, b, e, ts, j) VALUES ('q', 1.1, -0.5, 3.14, 5, 'y', '2020-01-01 00:00:00.123', '{}') RETURNING *", free: true},
	}
	for i := range cases {
		cases[i].only = testserver.NameMariaDB
	}
	return cases
}

func TestReturning(t *testing.T) { same(t, withSource(), returningCases()) }

// TestReturningRows compares what RETURNING gives with the bare driver's, through
// Query.
func TestReturningRows(t *testing.T) {
	d := setup(t, testserver.MariaDB(t))
	f := withSource()
	for _, text := range f.make {
		d.exec(text)
	}
	for _, tc := range returningCases() {
		f.reset(d)
		if tc.before != "" {
			d.exec(tc.before)
		}
		var want string
		c, err := d.db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Raw(func(raw any) error {
			var args []driver.NamedValue
			for i, a := range tc.args {
				nv := driver.NamedValue{Ordinal: i + 1, Value: a}
				if err := raw.(driver.NamedValueChecker).CheckNamedValue(&nv); err != nil {
					return err
				}
				args = append(args, nv)
			}
			rows, err := raw.(driver.QueryerContext).QueryContext(t.Context(), tc.text, args)
			if err != nil {
				return err
			}
			want = everyRow(t, rows)
			return rows.Close()
		}); err != nil {
			t.Fatal(err)
		}
		c.Close()

		f.reset(d)
		xid := newXID()
		if tc.before != "" {
			b := d.branch(xid)
			if _, err := b.run(tc.before); err != nil {
				t.Fatal(err)
			}
			b.commit()
		}
		b := d.branch(xid)
		out, err := b.run(tc.text, tc.args...)
		if err != nil {
			t.Errorf("%s: %v", tc.text, err)
			continue
		}
		if got := everyRow(t, out.Rows); got != want {
			t.Errorf("%s\n%s, bare\n%s", tc.text, got, want)
		}
		b.commit()
		d.mustAbort(xid)
	}
}

// everyRow gives the columns with their types, and the values.
func everyRow(t *testing.T, rows driver.Rows) string {
	t.Helper()
	var out strings.Builder
	for i, name := range rows.Columns() {
		fmt.Fprintf(&out, "%s %s %s", name, rows.(driver.RowsColumnTypeDatabaseTypeName).ColumnTypeDatabaseTypeName(i),
			rows.(driver.RowsColumnTypeScanType).ColumnTypeScanType(i))
		nullable, ok := rows.(driver.RowsColumnTypeNullable).ColumnTypeNullable(i)
		fmt.Fprint(&out, " ", nullable, ok)
		precision, scale, ok := rows.(driver.RowsColumnTypePrecisionScale).ColumnTypePrecisionScale(i)
		fmt.Fprintln(&out, "", precision, scale, ok)
	}
	for {
		line := make([]driver.Value, len(rows.Columns()))
		switch err := rows.Next(line); {
		case errors.Is(err, io.EOF):
			return out.String()
		case err != nil:
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "%T %q\n", line, line)
	}
}

func TestReturningRefused(t *testing.T) {
	d := setup(t, testserver.MariaDB(t))
	d.exec("CREATE TABLE a (id INT AUTO_INCREMENT PRIMARY KEY, v INT UNIQUE)")
	d.exec("INSERT INTO a VALUES (5,1)")
	for _, text := range []string{
		"REPLACE INTO a VALUES (1,1) RETURNING id",
		"INSERT IGNORE INTO a (v) VALUES (1) RETURNING id",
	} {
		var u *gtx.UnsupportedError
		if _, err := d.branch(newXID()).run(text); !errors.As(err, &u) || u.Code != "returning" {
			t.Errorf("%s: %v", text, err)
		}
	}
	// MariaDB drops the row and the error when the list of an INSERT fails.
	other := d.branch(newXID())
	if _, err := other.run("INSERT INTO a (v) VALUES (8) RETURNING id, (SELECT 1 UNION SELECT 2)"); err == nil || errors.Is(err, gtx.ErrConflict) || other.kept {
		t.Errorf("%v, kept %v", err, other.kept)
	}
	other.rollback()
	// An error is the user's own, before and behind his rows.
	b := d.branch(newXID())
	for text, number := range map[string]uint16{
		"INSERT INTO a VALUES (9,9),(5,2) RETURNING id":                                           errDuplicate,
		"DELETE FROM a RETURNING (SELECT MAX(v) FROM nothing)":                                    errNoTable,
		"INSERT INTO a (v) SELECT 1 RETURNING id":                                                 errDuplicate,
		"DELETE FROM a WHERE id IN (SELECT 1 UNION SELECT 5) RETURNING (SELECT 1 UNION SELECT 2)": 1242,
	} {
		if _, err := b.run(text); err == nil || !b.kept || !strings.Contains(err.Error(), fmt.Sprint(number)) {
			t.Errorf("%s: %v, kept %v", text, err, b.kept)
		}
	}
	b.must(0, "DELETE FROM a RETURNING id") // Exec: the bare driver tells no number either
	b.commit()
	d.mustAbort(b.xid)
	if got := d.one("SELECT GROUP_CONCAT(id,':',v) FROM a"); got != "5:1" {
		t.Errorf("rows %s after the abort", got)
	}
}
