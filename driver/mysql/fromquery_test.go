package mysql

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/gtx"
)

// withSource is rows() with a table to read from.
func withSource() *fixture {
	f := rows()
	f.make = append(f.make,
		"CREATE TABLE src (id INT PRIMARY KEY, name VARCHAR(20) CHARACTER SET latin1, n INT)",
		"CREATE TABLE wide (k VARCHAR(10) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci PRIMARY KEY, f FLOAT, d DOUBLE, m DECIMAL(20,10), b BIT(9), e ENUM('x','y'), ts TIMESTAMP(3) NULL, j JSON, g INT AS (b + 1) STORED, i INT DEFAULT 5 INVISIBLE)")
	f.fill = append(f.fill, "INSERT INTO src VALUES (11,'x',1),(12,'y',2),(13,NULL,3),(1,'z',9)")
	f.tables = append(f.tables, "src", "wide")
	return f
}

func TestInsertQuery(t *testing.T) {
	const touched = "UPDATE a SET v = v + 5"
	same(t, withSource(), []sameCase{
		{text: "INSERT INTO a (id, name, v) SELECT id, name, n FROM src WHERE id > 10", free: true},
		{text: "INSERT a SELECT id + ?, name, ? FROM src WHERE n > ? -- end", args: []any{100, 4, 1}, free: true},
		{text: "INSERT INTO a (SELECT id, name, n FROM src WHERE id > 10) -- brackets", free: true},
		{text: "INSERT INTO a (id, name) WITH x AS (SELECT * FROM src WHERE id > 10) SELECT id, name FROM x", free: true},
		{text: "INSERT INTO a (id, v) SELECT id + 20, v FROM a ORDER BY id DESC LIMIT 2", free: true},
		{text: "INSERT INTO a (id, v) SELECT id + 20, v FROM a UNION ALL SELECT 90, RAND() * 0", free: true},
		{text: "INSERT INTO a (id, v) VALUES (91, SLEEP(0)), (92, SLEEP(?))", args: []any{0}, free: true},
		{text: "INSERT INTO a (id, v) SELECT 1, 2 FROM src WHERE FALSE", free: true},
		{text: "INSERT INTO a (id, v) SELECT 2, 5", before: "DELETE FROM a WHERE id = 2", free: true},
		{text: "INSERT INTO a TABLE src LIMIT 3", only: "mysql", before: "DELETE FROM a WHERE id = 1", free: true},
		{text: "INSERT INTO `order` (n, k, v, w) SELECT n, name, id + 50, '2020-01-01' FROM src WHERE name IS NOT NULL", free: true},
		{text: "INSERT INTO wide (k, f, d, m, b, e, ts, j, i) SELECT id, 1/3, 1/3, 1/3, n, n, '2020-01-01 00:00:00.1239', JSON_ARRAY(n), 7 FROM src WHERE n < 3", free: true},
		{text: "INSERT INTO wide (k, f, j) SELECT CONCAT('É', id), n / 7, NULL FROM src", free: true},
		// Keys that the server generates.
		{text: "INSERT INTO a (name, v) SELECT name, n FROM src", free: true},
		{text: "INSERT INTO a (name) SELECT CONCAT(name, ?) FROM src WHERE id > ?", args: []any{"é", 1}, free: true},
		{text: "INSERT INTO a (name) SELECT name FROM src WHERE FALSE", free: true},
		{text: "INSERT INTO a (v) SELECT v FROM a", before: "INSERT INTO a (name) VALUES ('q')", free: true},
		// Rows in the way.
		{text: "INSERT IGNORE INTO a (id, name, v) SELECT id, name, n FROM src"},
		{text: "INSERT IGNORE INTO a (id, name, v) SELECT id, IF(id = 11, 'A', name), n FROM src UNION ALL SELECT 12, 'dup', 1", before: touched},
		{text: "INSERT INTO a (id, name, v) SELECT id, name, n FROM src ON DUPLICATE KEY UPDATE v = VALUES(v) + ?", args: []any{1}},
		{text: "INSERT INTO a (id, name, v) SELECT id + 20, IF(id = 11, 'A', name), n FROM src UNION SELECT 2, 'b', 2 ON DUPLICATE KEY UPDATE v = v + VALUES(v)", before: touched},
		{text: "INSERT INTO a (id, name, v) SELECT id, name, v FROM a ON DUPLICATE KEY UPDATE v = VALUES(v)"},
		{text: "REPLACE INTO a (id, name, v) SELECT id, name, n FROM src"},
		{text: "REPLACE a SELECT id, IF(id = 12, 'b', name), n FROM src", before: touched},
		{text: "REPLACE INTO wide (k, d) SELECT name, n FROM src WHERE name IS NOT NULL", before: "INSERT INTO wide (k, d) VALUES ('X', 1), ('q', 2)", free: true},
	})
}

func TestInsertQueryRefused(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE a (id INT AUTO_INCREMENT PRIMARY KEY, v INT UNIQUE)")
		d.exec("CREATE TABLE two (k INT, n INT DEFAULT 3, u INT UNIQUE, PRIMARY KEY (k, n))")
		d.exec("CREATE TABLE s (id INT)")
		d.exec("INSERT INTO s VALUES (NULL),(0),(5)")
		for text, code := range map[string]string{
			"INSERT INTO two (k) SELECT id FROM s":                                       "key-default",
			"INSERT INTO a (v) SELECT id FROM s ON DUPLICATE KEY UPDATE v = 1":           "insert-select",
			"INSERT IGNORE INTO a (v) SELECT id FROM s":                                  "insert-select",
			"REPLACE INTO a (v) SELECT id FROM s":                                        "insert-select",
			"INSERT IGNORE INTO two (k, n) SELECT id, 1 FROM s":                          "unique-key",
			"INSERT INTO a (id, v) SELECT stored(id), 1 FROM s":                          "volatile",
			"INSERT INTO a (id, v) SELECT ROW_COUNT(), 1 FROM s":                         "volatile",
			"INSERT INTO a (id, v) SELECT id, 1 FROM s ON DUPLICATE KEY UPDATE id = 2":   "key-update",
			"INSERT IGNORE INTO a (id) SELECT id FROM s ON DUPLICATE KEY UPDATE v = v+1": "ignore",
		} {
			var u *gtx.UnsupportedError
			if _, err := d.branch(newXID()).run(text); !errors.As(err, &u) || u.Code != code {
				t.Errorf("%s: %v, want code %s", text, err, code)
			}
		}
		// Keys that become others are known only when they are there.
		for _, text := range []string{
			"INSERT INTO a (id) SELECT id FROM s WHERE id IS NULL",
			"INSERT INTO a (id) SELECT id FROM s WHERE id < 6",
			"INSERT IGNORE INTO two (k, n, u) SELECT id, 1, 1 FROM s",
		} {
			b := d.branch(newXID())
			if _, err := b.run(text); err == nil || !strings.Contains(err.Error(), "could not be found") || b.kept || errors.Is(err, gtx.ErrConflict) {
				t.Errorf("%s: %v, kept %v", text, err, b.kept)
			}
			b.rollback()
		}
		// An error of the user's own leaves the local transaction.
		d.exec("INSERT INTO a VALUES (5,1)")
		b := d.branch(newXID())
		b.must(1, "INSERT INTO a (id, v) SELECT 6, 2")
		for text, number := range map[string]uint16{
			"INSERT INTO a (id, v) SELECT id, 3 FROM s WHERE id = 5": errDuplicate,
			"INSERT INTO a (id, v) SELECT 7, 'x'":                    errWrongValue,
			"INSERT INTO a (v) SELECT id - 4 FROM s":                 errDuplicate,
			"INSERT INTO a (v) SELECT (SELECT 1 UNION SELECT 2)":     1242,
		} {
			if _, err := b.run(text); err == nil || !b.kept || !strings.Contains(err.Error(), fmt.Sprint(number)) {
				t.Errorf("%s: %v, kept %v", text, err, b.kept)
			}
		}
		b.must(1, "INSERT INTO a (id, v) SELECT 8, 4")
		b.commit()
		if got := d.one("SELECT GROUP_CONCAT(id ORDER BY id) FROM a"); got != "5,6,8" {
			t.Errorf("rows %s", got)
		}
		d.mustAbort(b.xid)
		if got := d.one("SELECT GROUP_CONCAT(id ORDER BY id) FROM a"); got != "5" {
			t.Errorf("rows %s after the abort", got)
		}
	})
}

// TestInsertQueryRace runs each form beside writers that change what the query
// reads, and insert and delete rows of the target. After the abort the target holds
// what the foreign writers left there.
func TestInsertQueryRace(t *testing.T) {
	for _, level := range []sql.IsolationLevel{sql.LevelReadCommitted, sql.LevelRepeatableRead} {
		for _, text := range []string{
			"INSERT INTO a (id, ver) SELECT id, 1000 FROM src",
			"INSERT INTO a (id, ver) SELECT id, 1000 FROM src ORDER BY RAND() LIMIT 2",
			"INSERT INTO a (ver) SELECT 1000 FROM src",
			"INSERT IGNORE INTO a (id, ver) SELECT id, 1000 FROM src",
			"REPLACE INTO a (id, ver) SELECT id, 1000 FROM src",
			"INSERT INTO a (id, ver) SELECT id, 1000 FROM src ON DUPLICATE KEY UPDATE ver = ver + 1000",
		} {
			t.Run(level.String()+"/"+text, func(t *testing.T) {
				onEach(t, func(t *testing.T, d *database) {
					d.exec("CREATE TABLE a (id INT AUTO_INCREMENT PRIMARY KEY, ver INT) AUTO_INCREMENT=100")
					d.exec("CREATE TABLE src (id INT PRIMARY KEY)")
					d.exec("INSERT INTO src VALUES (1),(3)")
					const free = " NOT EXISTS (SELECT 1 FROM gtx_undo)"
					done, own := 0, 0
					there := map[int]bool{}
					for i := range 8 {
						xid := newXID()
						race(d, 1, 30, func(n int) (string, []any) {
							id := (n+i)%4 + 1
							switch n % 5 {
							case 0:
								return "DELETE FROM a WHERE id = ? AND" + free, []any{id}
							case 1:
								return "INSERT INTO a SELECT ?,1 FROM (SELECT 1) AS x WHERE" + free, []any{id}
							case 2:
								return "INSERT INTO a (ver) SELECT 7 FROM (SELECT 1) AS x WHERE" + free, nil
							case 3:
								return "INSERT IGNORE INTO src VALUES (?)", []any{id}
							}
							return "DELETE FROM src WHERE id = ?", []any{(id + 1) % 4}
						}, func(n int, affected int64) {
							switch {
							case affected == 0:
							case n%5 < 2:
								there[(n+i)%4+1] = n%5 == 1
							case n%5 == 2:
								own++
							}
						}, func() *branch { return d.branchIn(level, xid) }, text)
						if d.one("SELECT COUNT(*) FROM gtx_undo") != "0" {
							done++
						}
						d.mustAbort(xid)
						want := ""
						for id := 1; id <= 4; id++ {
							if there[id] {
								want += fmt.Sprintf("%d:1 ", id)
							}
						}
						if got := d.one("SELECT COALESCE(GROUP_CONCAT(id,':',ver,' ' ORDER BY id SEPARATOR ''),'') FROM a WHERE ver<>7"); got != want {
							t.Fatalf("rows %q, the foreign writer left %q", got, want)
						}
						if got := d.one("SELECT COUNT(*) FROM a WHERE ver=7"); got != fmt.Sprint(own) {
							t.Fatalf("%s rows of the foreign writer, want %d", got, own)
						}
					}
					t.Logf("%d of 8 came through", done)
					if done == 0 {
						t.Error("no run came through")
					}
				})
			})
		}
	}
}
