package mysql

import (
	"database/sql"
	"errors"
	"strings"
	"testing"

	base "github.com/go-sql-driver/mysql"

	"github.com/globaltx/globaltx/undo"
)

// changes of a table, in the order of what they leave as it was.
var changes = []string{
	"ALTER TABLE a ADD UNIQUE (s, n)",
	"ALTER TABLE a ADD COLUMN x INT NOT NULL DEFAULT 5",
	"ALTER TABLE a ADD COLUMN x INT FIRST",
	"ALTER TABLE a DROP COLUMN m",
	"ALTER TABLE a DROP COLUMN m, ADD COLUMN m VARCHAR(5) DEFAULT 'new'",
	"ALTER TABLE a RENAME COLUMN m TO x",
	"ALTER TABLE a RENAME COLUMN n TO m, RENAME COLUMN m TO n",
	"ALTER TABLE a MODIFY n VARCHAR(20)",
	"ALTER TABLE a MODIFY n INT AFTER m",
	"ALTER TABLE a MODIFY id INT AUTO_INCREMENT",
	"ALTER TABLE a MODIFY id BIGINT",
	"ALTER TABLE a MODIFY id VARCHAR(10)",
	"ALTER TABLE a DROP PRIMARY KEY, ADD PRIMARY KEY (id, m)",
	"ALTER TABLE a DROP PRIMARY KEY",
	"ALTER TABLE a CONVERT TO CHARACTER SET latin1",
	"ALTER TABLE a MODIFY s VARCHAR(20) COLLATE utf8mb4_bin",
	"ALTER TABLE a DROP COLUMN g, ADD COLUMN g INT",
	"ALTER TABLE a ENGINE=MyISAM",
	"RENAME TABLE a TO old",
	"DROP TABLE a",
	"TRUNCATE TABLE a",
}

func ddlTable(d *database) (id string) {
	d.Helper()
	d.exec("DROP TABLE IF EXISTS a, old")
	d.exec("DELETE FROM gtx_undo")
	d.exec("DELETE FROM gtx_branch")
	d.exec("CREATE TABLE a (id INT PRIMARY KEY, n INT, m INT NOT NULL, s VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci, k INT DEFAULT 3, g INT AS (k + 1) STORED)")
	d.exec("INSERT INTO a (id, n, m, s) VALUES (0,10,20,'z'),(1,11,21,'one'),(2,12,22,'two')")
	return ident(d.one("SELECT DATABASE()")) + ".`a`"
}

// change runs DDL in a session that keeps a key of 0.
func (d *database) change(text string) error {
	d.Helper()
	c, err := d.db.Conn(d.Context())
	if err != nil {
		d.Fatal(err)
	}
	defer c.Close()
	if _, err := c.ExecContext(d.Context(), "SET @gtx_mode=@@sql_mode, SESSION sql_mode=CONCAT(@@sql_mode,',NO_AUTO_VALUE_ON_ZERO')"); err != nil {
		d.Fatal(err)
	}
	_, failed := c.ExecContext(d.Context(), text)
	if _, err := c.ExecContext(d.Context(), "SET SESSION sql_mode=@gtx_mode"); err != nil {
		d.Fatal(err)
	}
	return failed
}

// content shows a table, or why it cannot be read.
func (d *database) content() string {
	d.Helper()
	rows, err := d.db.QueryContext(d.Context(), "SELECT * FROM a")
	if err != nil {
		return err.Error()
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		d.Fatal(err)
	}
	var out strings.Builder
	for rows.Next() {
		line, dest := make([]sql.NullString, len(names)), make([]any, len(names))
		for i := range line {
			dest[i] = &line[i]
		}
		if err := rows.Scan(dest...); err != nil {
			d.Fatal(err)
		}
		for i, v := range line {
			out.WriteString(names[i] + "=" + v.String + " ")
		}
		out.WriteString("\n")
	}
	if err := rows.Err(); err != nil {
		d.Fatal(err)
	}
	return out.String()
}

var ddlStatements = []string{
	"UPDATE a SET s = 'changed' WHERE id = 1",
	"DELETE FROM a WHERE id = 2",
	"INSERT INTO a (id, n, m, s) VALUES (7, 1, 2, 'new')",
	"INSERT INTO a (id, n, m, s) VALUES (0, 1, 2, 'again')",
	"INSERT INTO a (id, n, m, s) VALUES (2, 1, 2, 'new') ON DUPLICATE KEY UPDATE s = 'changed'",
	"REPLACE INTO a (id, n, m, s) VALUES (2, 1, 22, 'new')",
	"UPDATE a SET id = 9 WHERE id = 1",
	"INSERT INTO a (id, n, m, s) SELECT id + 50, n, m, 'q' FROM a",
}

// TestStaleTable captures with what was remembered of a table before it changed. The
// statement fails and changes nothing; or the abort does, and the row stays as the
// statement left it; or the abort restores what was there.
func TestStaleTable(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		for _, change := range changes {
			for _, text := range ddlStatements {
				id := ddlTable(d)
				table, err := Dialect{}.Table(t.Context(), undo.QueryDB(d.db), id)
				if err != nil {
					t.Fatal(err)
				}
				if err := d.change(change); err != nil {
					t.Fatalf("%s: %v", change, err)
				}
				before := d.content()
				stale := *d
				stale.stale = map[string]*undo.Table{id: table}
				b := stale.branch(newXID())
				if _, err := b.run(text); err != nil {
					b.rollback()
					if got := d.content(); got != before && !strings.Contains(change, "MyISAM") {
						t.Errorf("%s; %s: failed, but left\n%s, before\n%s", change, text, got, before)
					}
					continue
				}
				b.commit()
				after := d.content()
				err = d.abort(b.xid)
				got := d.content()
				switch {
				case err == nil && got != before:
					t.Errorf("%s; %s: restored\n%s, before\n%s", change, text, got, before)
				case err != nil && got != after:
					t.Errorf("%s; %s: stuck (%v), but now\n%s, left\n%s", change, text, err, got, after)
				}
			}
		}
	})
}

// TestTableChangesBeforeAbort changes a table between the local commit and the abort.
func TestTableChangesBeforeAbort(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		for _, change := range changes {
			if strings.HasPrefix(change, "TRUNCATE") {
				continue // writes rows from outside, which is another matter
			}
			for _, text := range []string{ddlStatements[0], ddlStatements[1], ddlStatements[2], ddlStatements[6]} {
				ddlTable(d)
				d.exec("CREATE TABLE twin LIKE a")
				d.exec("INSERT INTO twin (id, n, m, s) SELECT id, n, m, s FROM a")
				b := d.branch(newXID())
				if _, err := b.run(text); err != nil {
					b.rollback()
					d.exec("DROP TABLE twin")
					continue
				}
				b.commit()
				if err := d.change(change); err != nil {
					d.exec("DROP TABLE twin") // what the statement left does not allow it
					continue
				}
				after := d.content()
				err := d.abort(b.xid)
				got := d.content()
				if err == nil {
					// The change applied to the rows of before.
					d.exec("DROP TABLE IF EXISTS a, old")
					d.exec("RENAME TABLE twin TO a")
					if err := d.change(change); err != nil {
						t.Fatal(err)
					}
					if want := d.content(); got != want {
						t.Errorf("%s; %s: restored\n%s, want\n%s", text, change, got, want)
					}
					continue
				}
				if got != after {
					t.Errorf("%s; %s: stuck (%v), but now\n%s, left\n%s", text, change, err, got, after)
				}
				d.exec("DROP TABLE twin")
			}
		}
	})
}

// TestChangeWaits: while a branch is open the server lets nobody change its tables.
func TestChangeWaits(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		ctx := t.Context()
		c, err := d.db.Conn(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.ExecContext(ctx, "SET SESSION lock_wait_timeout=1"); err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{ddlStatements[0], ddlStatements[1], ddlStatements[2]} {
			ddlTable(d)
			b := d.branch(newXID())
			if _, err := b.run(text); err != nil {
				t.Fatal(err)
			}
			var my *base.MySQLError
			if _, err := c.ExecContext(ctx, "ALTER TABLE a ADD COLUMN x INT"); !errors.As(err, &my) || my.Number != errLockTimeout {
				t.Errorf("%s: the change came through: %v", text, err)
			}
			b.commit()
			d.mustAbort(b.xid)
		}
	})
}
