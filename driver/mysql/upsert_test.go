package mysql

import (
	"database/sql"
	"errors"
	"fmt"
	"testing"

	"github.com/globaltx/globaltx/gtx"
)

func TestInsertIgnore(t *testing.T) {
	const touched = "UPDATE a SET v = v + 5"
	same(t, rows(), []sameCase{
		{text: "INSERT IGNORE INTO a (id, name) VALUES (1, 'x')"},
		{text: "INSERT IGNORE INTO a (id, name) VALUES (1, 'x'), (4, 'y')", before: touched},
		{text: "INSERT IGNORE INTO a (id, name) VALUES (4, 'a'), (5, ?), (5, 'w')", args: []any{"z"}},
		{text: "INSERT IGNORE INTO a (name) VALUES ('a')"},
		{text: "INSERT IGNORE INTO a (name) VALUES ('x'), ('a'), ('y'), ('B'), (NULL), (?)", args: []any{"é"}},
		{text: "INSERT IGNORE INTO a (name) VALUES ('x'), ('y')", free: true},
		{text: "INSERT IGNORE INTO a (id, name) VALUES (9, NULL)", free: true},
		{text: "INSERT IGNORE INTO a VALUES (2, 'q', 1)", before: "DELETE FROM a WHERE id = 2", free: true},
		{text: "INSERT IGNORE INTO a SET id = ?, name = ?", args: []any{3, "c"}, before: "INSERT INTO a VALUES (9, 'c', 1)"},
		{text: "INSERT IGNORE `order` (k, n, v, w) VALUES ('A', 1, 8, NULL), ('a', 2, 2, NULL), ('', 0, 9, NULL)"},
	})
}

func TestOnDuplicate(t *testing.T) {
	const touched = "UPDATE a SET v = v + 5"
	same(t, rows(), []sameCase{
		{text: "INSERT INTO a (id, name, v) VALUES (1, 'x', 9) ON DUPLICATE KEY UPDATE v = VALUES(v)"},
		{text: "INSERT INTO a (id, name, v) VALUES (1, 'x', 9) ON DUPLICATE KEY UPDATE v = VALUES(v)", before: touched},
		{text: "INSERT INTO a (id, name, v) VALUES (1, 'a', 1) ON DUPLICATE KEY UPDATE v = VALUES(v), name = VALUES(name) -- no change"},
		{text: "INSERT INTO a (id, name, v) VALUES (4, 'x', 9) ON DUPLICATE KEY UPDATE v = VALUES(v)", free: true},
		{text: "INSERT INTO a (name, v) VALUES ('x', 9) ON DUPLICATE KEY UPDATE v = v + 1", free: true},
		{text: "INSERT INTO a (name, v) VALUES (?, 9) ON DUPLICATE KEY UPDATE v = v + ?, name = CONCAT(name, ?)", args: []any{"b", 7, "é"}},
		{text: "INSERT INTO a (name, v) VALUES ('x', 8), ('A', 9), (NULL, 7), ('b', 2), ('y', 1) ON DUPLICATE KEY UPDATE v = VALUES(v)", before: touched},
		{text: "INSERT INTO a (id, name, v) VALUES (1, 'b', 9), (3, NULL, 3), (7, 'b', 5), (8, 'q', 6) ON DUPLICATE KEY UPDATE v = v * 2"},
		{text: "INSERT INTO a (id, name, v) VALUES (2, 'b', 9) ON DUPLICATE KEY UPDATE v = a.v + 1", before: "DELETE FROM a WHERE id = 2", free: true},
		{text: "INSERT INTO a (id, name, v) VALUES (9, 'n', 9) ON DUPLICATE KEY UPDATE v = a.v + 1", before: "INSERT INTO a VALUES (9, 'm', 1)", free: true},
		{text: "INSERT INTO a (id, v) VALUES (1, 4) AS new ON DUPLICATE KEY UPDATE v = new.v + a.v", only: "mysql"},
		{text: "INSERT INTO a (name) VALUES ('b') ON DUPLICATE KEY UPDATE name = UUID(), v = (SELECT MAX(n) FROM `order`)", only: "none"},
		{text: "INSERT INTO `order` (k, n, w) VALUES (?, ?, NULL), ('b', ?, NULL), ('c', 9, NULL) ON DUPLICATE KEY UPDATE w = '1999-01-01'", args: []any{"A", 1, 2}},
		{text: "INSERT INTO `order` SET k = '日本', n = 3, v = ?, w = NULL ON DUPLICATE KEY UPDATE v = VALUES(v), `order`.w = NULL", args: []any{10}},
		{text: "INSERT INTO `order` (k, n, w, v) VALUES ('q', 1, NULL, 1), ('r', 1, NULL, 2) ON DUPLICATE KEY UPDATE v = 100 + v"},
	})
}

func TestReplace(t *testing.T) {
	const touched = "UPDATE a SET v = v + 5"
	same(t, rows(), []sameCase{
		{text: "REPLACE INTO a (id, name, v) VALUES (1, 'x', 9)"},
		{text: "REPLACE a VALUES (1, 'x', ?)", args: []any{9}, before: touched},
		{text: "REPLACE a VALUES (1, 'a', 1)"},
		{text: "REPLACE a VALUES (1, 'b', 9)"},
		{text: "REPLACE a VALUES (1, 'b', 9), (5, 'x', 1), (3, NULL, 3)", before: touched},
		{text: "REPLACE a (name, v) VALUES ('x', 1), ('b', 2), (NULL, 3)"},
		{text: "REPLACE a (name, v) VALUES ('x', 1)", free: true},
		{text: "REPLACE a VALUES (2, 'b', 9)", before: "DELETE FROM a WHERE id = 2", free: true},
		{text: "REPLACE a VALUES (9, 'n', 9), (10, 'm', 1)", before: "INSERT INTO a VALUES (9, 'm', 1)", free: true},
		{text: "REPLACE INTO a SET id = ?, name = ?", args: []any{7, "B"}},
		{text: "REPLACE LOW_PRIORITY INTO `order` (k, n, v, w) VALUES ('A', 1, 2, NULL), ('', 0, NULL, NULL), ('日本', 3, 3, '2020-01-01')"},
	})
	one := &fixture{
		make:   []string{"CREATE TABLE one (id VARCHAR(9) PRIMARY KEY, v INT)"},
		fill:   []string{"INSERT INTO one VALUES ('a',1),('b',2),('c',3)"},
		tables: []string{"one"},
		hold:   []string{"UPDATE one SET v = v + 1"},
	}
	same(t, one, []sameCase{
		{text: "REPLACE one VALUES ('a', 1)"},
		{text: "REPLACE one VALUES ('A', 1), ('b', 5), ('x', 6), ('c', 3)"},
		{text: "REPLACE one VALUES ('a', 1), ('b', 2)", before: "UPDATE one SET v = v + 5"},
	})
}

func TestUpsertRefused(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE a (id INT PRIMARY KEY, u INT UNIQUE, v INT)")
		d.exec("CREATE TABLE pre (id INT PRIMARY KEY, u VARCHAR(50), UNIQUE (u(5)))")
		d.exec("CREATE TABLE gen (id INT PRIMARY KEY, v INT, g INT AS (v + 1) STORED UNIQUE)")
		d.exec("CREATE TABLE fl (id INT PRIMARY KEY, f FLOAT UNIQUE)")
		for text, code := range map[string]string{
			"INSERT INTO a VALUES (1,1,1) ON DUPLICATE KEY UPDATE id = 2":        "key-update",
			"INSERT INTO a VALUES (1,1+1,1) ON DUPLICATE KEY UPDATE v = 2":       "key-expression",
			"INSERT INTO a VALUES (1+1,1,1) ON DUPLICATE KEY UPDATE v = 2":       "key-expression",
			"INSERT IGNORE INTO a VALUES (1,1,1) ON DUPLICATE KEY UPDATE v = 2":  "ignore",
			"REPLACE INTO pre VALUES (1,'x')":                                    "unique-key",
			"INSERT IGNORE INTO gen (id,v) VALUES (1,1)":                         "unique-key",
			"INSERT INTO fl VALUES (1,1) ON DUPLICATE KEY UPDATE f = 2":          "unique-key",
			"UPDATE IGNORE a SET u = 1":                                          "ignore",
			"DELETE IGNORE FROM a":                                               "ignore",
			"INSERT INTO a VALUES (1,1,1) ON DUPLICATE KEY UPDATE v = stored(1)": "volatile",
		} {
			var u *gtx.UnsupportedError
			if _, err := d.branch(newXID()).run(text); !errors.As(err, &u) || u.Code != code {
				t.Errorf("%s: %v, want code %s", text, err, code)
			}
		}
		// A row that the statement itself inserted has no image yet.
		b := d.branch(newXID())
		if _, err := b.run("INSERT INTO a VALUES (1,1,1),(1,2,2) ON DUPLICATE KEY UPDATE v = 3"); !errors.Is(err, gtx.ErrConflict) || b.kept {
			t.Errorf("%v, kept %v", err, b.kept)
		}
	})
}

// TestUpsertRace runs each form beside writers that insert and delete rows in its
// way. After the abort the foreign rows are as the foreign writers left them.
func TestUpsertRace(t *testing.T) {
	for _, level := range []sql.IsolationLevel{sql.LevelReadCommitted, sql.LevelRepeatableRead} {
		for _, text := range []string{
			"INSERT INTO a (id, u, ver) VALUES (1, 101, 1000), (2, 102, 1000), (13, 3, 1000), (14, 4, 1000) ON DUPLICATE KEY UPDATE ver = ver + 1000",
			"INSERT INTO a (id, u, ver) VALUES (3, 103, 1000) ON DUPLICATE KEY UPDATE ver = ver + 1000",
			"INSERT IGNORE INTO a (id, u, ver) VALUES (1, 101, 1000), (2, 102, 1000), (13, 3, 1000), (14, 4, 1000)",
			"REPLACE INTO a (id, u, ver) VALUES (1, 101, 1000), (2, 102, 1000), (13, 3, 1000), (14, 4, 1000)",
			"REPLACE INTO a (id, u, ver) VALUES (3, 4, 1000)",
		} {
			t.Run(level.String()+"/"+text[:12], func(t *testing.T) {
				onEach(t, func(t *testing.T, d *database) {
					d.exec("CREATE TABLE a (id INT PRIMARY KEY, u INT UNIQUE, ver INT)")
					// Only rows that no global transaction holds, as the wrapper would.
					const free = " NOT EXISTS (SELECT 1 FROM gtx_undo)"
					done, there := 0, map[int]bool{}
					for i := range 15 {
						xid := newXID()
						race(d, 1, 30, func(n int) (string, []any) {
							id := (n+i)%4 + 1
							if n%2 == 0 {
								return "DELETE FROM a WHERE id = ? AND" + free, []any{id}
							}
							return "INSERT INTO a SELECT ?,?,1 FROM (SELECT 1) AS x WHERE" + free, []any{id, id}
						}, func(n int, affected int64) {
							if affected > 0 {
								there[(n+i)%4+1] = n%2 == 1
							}
						}, func() *branch { return d.branchIn(level, xid) }, text)
						if d.one("SELECT COUNT(*) FROM gtx_undo") != "0" {
							done++
						}
						d.mustAbort(xid)
						want := ""
						for id := 1; id <= 4; id++ {
							if there[id] {
								want += fmt.Sprintf("%d:%d:1 ", id, id)
							}
						}
						if got := d.one("SELECT COALESCE(GROUP_CONCAT(id,':',u,':',ver,' ' ORDER BY id SEPARATOR ''),'') FROM a"); got != want {
							t.Fatalf("rows %q, the foreign writer left %q", got, want)
						}
					}
					if done == 0 {
						t.Error("no run came through")
					}
				})
			})
		}
	}
}

// TestSnapshotStays: at REPEATABLE READ it is the user's first SELECT that fixes
// what he sees, not a statement that writes.
func TestSnapshotStays(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE a (id INT PRIMARY KEY, v INT)")
		d.exec("CREATE TABLE other (id INT PRIMARY KEY)")
		d.exec("INSERT INTO a VALUES (1,1),(2,2)")
		for i, text := range []string{
			"INSERT INTO a VALUES (11,1)", "UPDATE a SET v = 5 WHERE id = 1", "DELETE FROM a WHERE id = 1", "UPDATE a SET id = 9 WHERE id = 1",
			"INSERT IGNORE INTO a VALUES (1,1),(12,2)", "REPLACE a VALUES (1,5)", "INSERT INTO a VALUES (1,1),(13,1) ON DUPLICATE KEY UPDATE v = 4",
			"UPDATE a x JOIN a y ON x.id = y.id SET x.v = 9",
		} {
			b := d.branchIn(sql.LevelRepeatableRead, newXID())
			if _, err := b.run(text); err != nil {
				t.Fatal(err)
			}
			d.exec("INSERT INTO other VALUES (?)", i)
			var n int
			if err := b.c.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM other").Scan(&n); err != nil || n != i+1 {
				t.Errorf("%s: sees %d rows, %v, want %d", text, n, err, i+1)
			}
			b.rollback()
		}
	})
}
