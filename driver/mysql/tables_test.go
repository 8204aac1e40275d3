package mysql

import (
	"errors"
	"testing"

	"github.com/globaltx/globaltx/gtx"
)

// TestPartitions: rows are found again in whatever partition they are, also when a
// statement moves them.
func TestPartitions(t *testing.T) {
	for name, by := range map[string]string{
		"by_range": "RANGE (n) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN (100), PARTITION p2 VALUES LESS THAN MAXVALUE)",
		"by_list":  "LIST (n) (PARTITION p0 VALUES IN (1,2,3), PARTITION p1 VALUES IN (11,12,99))",
		"by_hash":  "HASH (n) PARTITIONS 3",
		"by_key":   "KEY (n) PARTITIONS 3",
	} {
		t.Run(name, func(t *testing.T) {
			f := &fixture{
				make:   []string{"CREATE TABLE " + name + " (id INT, n INT, v INT, PRIMARY KEY (id, n)) PARTITION BY " + by},
				fill:   []string{"INSERT INTO " + name + " VALUES (1,1,1),(2,2,2),(3,11,3),(4,12,4)"},
				tables: []string{name},
				hold:   []string{"UPDATE " + name + " SET v = v + 1"},
			}
			cases := []sameCase{
				{text: "UPDATE " + name + " SET n = 99, v = 7 WHERE id = 1", before: "UPDATE " + name + " SET v = 5"},
				{text: "INSERT INTO " + name + " VALUES (1,1,9),(9,11,9) ON DUPLICATE KEY UPDATE v = VALUES(v)"},
			}
			if name == "by_range" {
				cases = append(cases,
					sameCase{text: "DELETE FROM by_range WHERE v > 1"},
					sameCase{text: "INSERT INTO by_range PARTITION (p1) VALUES (8,50,1)", free: true},
					sameCase{text: "INSERT INTO by_range PARTITION (p1) (id, n) SELECT id + 20, n FROM by_range WHERE n > 10", free: true},
					sameCase{text: "UPDATE by_range PARTITION (p0, p1) SET n = n + 90 WHERE id = 2"},
					sameCase{text: "REPLACE INTO by_range VALUES (1,1,9),(1,11,9)"},
				)
			}
			same(t, f, cases)
		})
	}
}

// TestHiddenColumns: what the server computes or sets by itself is as it was after
// an abort, and does not make a row dirty.
func TestHiddenColumns(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE a (id INT PRIMARY KEY, n INT, v INT AS (n * 2) VIRTUAL, s INT AS (n * 3) STORED, i INT DEFAULT 4 INVISIBLE," +
			" at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6), dt DATETIME(3) DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3), KEY (v), UNIQUE (s))")
		d.exec("INSERT INTO a (id, n, i, at, dt) VALUES (1,1,7,'2001-01-01','2001-01-01'),(2,2,8,'2002-01-01','2002-01-01'),(3,3,9,'2003-01-01',NULL)")
		before := d.checksum("a")
		for _, text := range []string{
			"UPDATE a SET n = n + 10",
			"UPDATE a SET n = n + 10, at = '2010-01-01' WHERE v > 2 ORDER BY s DESC LIMIT 1",
			"UPDATE a SET i = i + 1 WHERE i > 7",
			"UPDATE a SET id = id + 10",
			"UPDATE a SET n = n",
			"DELETE FROM a WHERE s > 3",
			"INSERT INTO a VALUES (9,9,DEFAULT,DEFAULT,DEFAULT,DEFAULT)",
			"INSERT INTO a (id, n) SELECT id + 50, n + 50 FROM a",
		} {
			xid := newXID()
			for range 2 { // met again by the second branch
				b := d.branch(xid)
				if _, err := b.run(text); err != nil && !b.kept { // a key that the first made is the user's own error
					t.Fatalf("%s: %v", text, err)
				}
				b.commit()
			}
			d.mustAbort(xid)
			if got := d.checksum("a"); got != before {
				t.Errorf("%s: checksum %s after the abort, want %s", text, got, before)
			}
		}
	})
}

// TestOtherTables: what is no table of InnoDB is refused before anything runs.
func TestOtherTables(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE a (id INT PRIMARY KEY, n INT)")
		d.exec("INSERT INTO a VALUES (1,1)")
		d.exec("CREATE VIEW v AS SELECT * FROM a")
		want := map[string]string{"v": "view"}
		for name, engine := range map[string]string{"myisam": "MyISAM", "memory": "MEMORY"} {
			d.exec("CREATE TABLE " + name + " (id INT PRIMARY KEY, n INT) ENGINE=" + engine)
			want[name] = "engine"
		}
		d.exec("CREATE TEMPORARY TABLE nowhere (id INT PRIMARY KEY, n INT)")
		want["nowhere"] = "no-table"
		if d.one("SELECT VERSION() LIKE '%MariaDB%'") == "1" {
			d.exec("CREATE TABLE aria (id INT PRIMARY KEY, n INT) ENGINE=Aria")
			d.exec("CREATE TABLE versioned (id INT PRIMARY KEY, n INT) WITH SYSTEM VERSIONING")
			want["aria"], want["versioned"] = "engine", "table-type"
		}
		for name, code := range want {
			for _, text := range []string{"UPDATE " + name + " SET n = 2", "INSERT INTO " + name + " VALUES (5,5)", "DELETE FROM " + name} {
				var u *gtx.UnsupportedError
				if _, err := d.branch(newXID()).run(text); !errors.As(err, &u) || u.Code != code {
					t.Errorf("%s: %v, want code %s", text, err, code)
				}
			}
		}
	})
}

// TestTemporaryTable: one that hides a table of the same name has rows that no other
// session sees, phase two among them.
func TestTemporaryTable(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE a (id INT PRIMARY KEY, n INT)")
		d.exec("INSERT INTO a VALUES (1,1)")
		for _, text := range []string{"UPDATE a SET n = 2", "INSERT INTO a VALUES (5,5)", "DELETE FROM a", "DELETE x FROM a AS x JOIN a AS y ON x.id = y.id"} {
			b := d.branch(newXID(), "CREATE TEMPORARY TABLE a (id INT PRIMARY KEY, n INT)")
			var u *gtx.UnsupportedError
			if _, err := b.run(text); !errors.As(err, &u) || u.Code != "temporary-table" {
				t.Errorf("%s: %v", text, err)
			}
			b.plain("DROP TEMPORARY TABLE a")
			if _, err := b.run("UPDATE a SET n = 2"); err != nil {
				t.Error(err)
			}
			b.rollback()
		}
	})
}
