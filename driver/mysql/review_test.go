package mysql

import (
	"database/sql"
	"errors"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

// TestReplaceMeetsForeignRow puts a foreign row between the capture and a REPLACE of
// a table whose only unique key is the primary one: the server does not count a row
// that is replaced by its equal, so its count tells nothing.
func TestReplaceMeetsForeignRow(t *testing.T) {
	const gated = "(SELECT COUNT(*) FROM g WHERE id = 1 FOR UPDATE)"
	for _, tc := range []struct{ text, foreign string }{
		{"REPLACE INTO a VALUES (1, " + gated + "), (2, 6)", "INSERT INTO a VALUES (2, 7)"},
		{"REPLACE INTO a VALUES (2, " + gated + ")", "INSERT INTO a VALUES (2, 1)"},
		{"REPLACE LOW_PRIORITY a SET id = 2, v = " + gated, "INSERT INTO a VALUES (2, 1)"},
		{"REPLACE INTO a SELECT id, " + gated + " FROM (SELECT 1 AS id UNION SELECT 2) AS x", "INSERT INTO a VALUES (2, 7)"},
	} {
		t.Run(tc.text, func(t *testing.T) {
			onEach(t, func(t *testing.T, d *database) {
				text, foreign := tc.text, tc.foreign
				d.exec("CREATE TABLE a (id INT PRIMARY KEY, v INT)")
				d.exec("CREATE TABLE g (id INT PRIMARY KEY)")
				d.exec("INSERT INTO a VALUES (1, 1)")
				d.exec("INSERT INTO g VALUES (1)")
				gate := d.branch(newXID())
				gate.plain("BEGIN")
				gate.plain("SELECT * FROM g FOR UPDATE")
				b := d.branchIn(sql.LevelReadCommitted, newXID())
				got := make(chan error, 1)
				go func() {
					_, err := b.run(text)
					got <- err
				}()
				d.awaitLockWait("g WHERE id")
				d.exec(foreign)
				before := d.one("SELECT GROUP_CONCAT(id,':',v ORDER BY id) FROM a")
				gate.commit()
				if err := <-got; err != nil {
					if !errors.Is(err, gtx.ErrConflict) {
						t.Errorf("%v, want a conflict", err)
					}
					b.rollback()
				} else {
					b.commit()
				}
				d.mustAbort(b.xid)
				if after := d.one("SELECT GROUP_CONCAT(id,':',v ORDER BY id) FROM a"); after != before {
					t.Errorf("rows %s after the abort, the foreign writer left %s", after, before)
				}
			})
		})
	}
}

// TestReplaceUnknownKey: the table has got a unique key since it was read. MariaDB
// looks for rows in the way by a key over a TEXT before all others, and does not
// count a row that is replaced by its equal there.
func TestReplaceUnknownKey(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		for _, key := range []string{"ADD UNIQUE (s)", "MODIFY s TEXT, ADD UNIQUE (s)"} {
			d.exec("DROP TABLE IF EXISTS a")
			d.exec("CREATE TABLE a (id INT PRIMARY KEY, s VARCHAR(20))")
			d.exec("INSERT INTO a VALUES (1,'a'),(3,'b')")
			id := ident(d.one("SELECT DATABASE()")) + ".`a`"
			if strings.Contains(key, "TEXT") {
				if d.isMySQL() {
					continue // which has no such key
				}
				d.exec("ALTER TABLE a MODIFY s TEXT")
				key = "ADD UNIQUE (s)"
			}
			table, err := Dialect{}.Table(t.Context(), undo.QueryDB(d.db), id)
			if err != nil {
				t.Fatal(err)
			}
			d.exec("ALTER TABLE a " + key)
			stale := *d
			stale.stale = map[string]*undo.Table{id: table}
			for _, text := range []string{"REPLACE INTO a VALUES (1,'a'),(2,'b')", "REPLACE INTO a VALUES (2,'b')", "REPLACE INTO a VALUES (1,'b')"} {
				b := stale.branch(newXID())
				if _, err := b.run(text); err != nil {
					b.rollback()
				} else {
					b.commit()
				}
				d.mustAbort(b.xid)
				if got := d.one("SELECT GROUP_CONCAT(id,s ORDER BY id) FROM a"); got != "1a,3b" {
					t.Errorf("%s; %s: rows %s after the abort, want 1a,3b", key, text, got)
				}
			}
		}
	})
}

// TestReplaceHashKey: MariaDB makes a hash of a unique key that is too long, looks for
// rows by it first, and does not count one that is replaced by its equal.
func TestReplaceHashKey(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		if d.isMySQL() {
			return // which has no such key
		}
		d.exec("CREATE TABLE a (id INT PRIMARY KEY, s VARCHAR(1000) CHARACTER SET utf8mb4 UNIQUE)")
		d.exec("INSERT INTO a VALUES (1,'a')")
		for _, text := range []string{"REPLACE INTO a VALUES (2,'b')", "REPLACE INTO a SELECT 2, 'b'"} {
			var u *gtx.UnsupportedError
			if _, err := d.branch(newXID()).run(text); !errors.As(err, &u) || u.Code != "unique-key" {
				t.Errorf("%s: %v, want a refusal", text, err)
			}
		}
		b := d.branch(newXID())
		b.must(2, "INSERT INTO a VALUES (2,'a') ON DUPLICATE KEY UPDATE s = 'c'")
		b.commit()
		d.mustAbort(b.xid)
		if got := d.one("SELECT GROUP_CONCAT(id,s) FROM a"); got != "1a" {
			t.Errorf("rows %s", got)
		}
	})
}

// isMySQL is false on MariaDB.
func (d *database) isMySQL() bool {
	d.Helper()
	return !strings.Contains(d.one("SELECT VERSION()"), "MariaDB")
}

// TestNothingStaysOnSession: a statement that fails leaves no temporary table to
// the next user of the connection.
func TestNothingStaysOnSession(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE a (id INT PRIMARY KEY, v INT)")
		d.exec("INSERT INTO a VALUES (1, 1)")
		b := d.branch(newXID())
		b.must(1, "UPDATE a SET v = 2")
		if _, err := b.run("INSERT INTO a SELECT id, v FROM a"); err == nil || !b.kept {
			t.Fatalf("%v, kept %v, want a duplicate", err, b.kept)
		}
		var n int
		if err := b.c.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM "+newRowsTable).Scan(&n); (Dialect{}).Classify(err) != undo.NoTable {
			t.Errorf("the temporary table is there: %d rows, %v", n, err)
		}
		b.must(1, "INSERT INTO a SELECT id + 1, v FROM a")
		b.commit()
		d.mustAbort(b.xid)
		if got := d.one("SELECT GROUP_CONCAT(id,':',v) FROM a"); got != "1:1" {
			t.Errorf("rows %s", got)
		}
	})
}

// TestOwnNameInQuery: a user's table by the name of the temporary one is hidden by it.
func TestOwnNameInQuery(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE a (id INT PRIMARY KEY, v INT)")
		d.exec("CREATE TABLE gtx_new (gtx_c1 INT PRIMARY KEY, gtx_c2 INT)")
		d.exec("INSERT INTO gtx_new VALUES (1, 1)")
		for _, text := range []string{"INSERT INTO a SELECT * FROM gtx_new", "INSERT INTO gtx_new SELECT 2, 2", "INSERT INTO a SELECT * FROM `GTX_new`"} {
			var u *gtx.UnsupportedError
			if _, err := d.branch(newXID()).run(text); !errors.As(err, &u) {
				t.Errorf("%s: %v, want a refusal", text, err)
			}
		}
	})
}

// TestReplaceAsPlain: what a REPLACE does and says is as without the capture.
func TestReplaceAsPlain(t *testing.T) {
	same(t, &fixture{
		make:   []string{"CREATE TABLE own (id INT PRIMARY KEY, n BIGINT, at INT AUTO_INCREMENT, KEY (at))"},
		fill:   []string{"INSERT INTO own (id, n) VALUES (1,1)"},
		tables: []string{"own"},
		hold:   []string{"UPDATE own SET n = n + 1"},
	}, []sameCase{
		{text: "REPLACE INTO own (id, n, at) VALUES (2, LAST_INSERT_ID() + 1, 9)", free: true},
		{text: "REPLACE INTO own (id, n, at) VALUES (1, LAST_INSERT_ID(7), 9), (3, LAST_INSERT_ID(LAST_INSERT_ID() + 1), 8)"},
	})
}

// TestReplaceTree replaces rows that refer to each other.
func TestReplaceTree(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE tree (id INT PRIMARY KEY, up INT, FOREIGN KEY (up) REFERENCES tree (id))")
		for _, text := range []string{
			"REPLACE INTO tree VALUES (5, NULL), (6, 5), (4, 6)",
			"REPLACE INTO tree SELECT * FROM (SELECT 5 AS id, NULL AS up UNION ALL SELECT 6, 5 UNION ALL SELECT 4, 6) AS x",
		} {
			b := d.branch(newXID())
			b.must(3, text)
			b.rollback()
		}
		// An error of the user's own stays one.
		b := d.branch(newXID())
		if _, err := b.run("REPLACE INTO tree VALUES (7, NULL), (8, 9)"); (Dialect{}).Classify(err) != undo.Blocked || !b.kept {
			t.Errorf("%v, kept %v", err, b.kept)
		}
	})
}

// TestQueryLastInsertID: LAST_INSERT_ID(n) in a query would tell the caller n.
func TestQueryLastInsertID(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE a (id INT PRIMARY KEY, v INT)")
		for _, text := range []string{"INSERT INTO a SELECT 1, LAST_INSERT_ID(7)", "REPLACE INTO a SELECT 1, last_insert_id( 7)"} {
			var u *gtx.UnsupportedError
			if _, err := d.branch(newXID()).run(text); !errors.As(err, &u) || u.Code != "volatile" {
				t.Errorf("%s: %v, want a refusal", text, err)
			}
		}
		b := d.branch(newXID())
		b.must(1, "INSERT INTO a SELECT 1, LAST_INSERT_ID( )")
		b.commit()
		d.mustAbort(b.xid)
	})
}

// TestMayNotTakeTemporary: the statement of a user without the privilege fails and
// leaves the local transaction.
func TestMayNotTakeTemporary(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE a (id INT PRIMARY KEY, v INT)")
		name := d.one("SELECT LEFT(CONCAT('u', SHA2(DATABASE(), 256)), 20)")
		d.exec("CREATE USER " + name + " IDENTIFIED BY 'p'")
		t.Cleanup(func() { _, _ = d.db.Exec("DROP USER " + name) })
		d.exec("GRANT SELECT, INSERT, UPDATE, DELETE, TRIGGER ON " + ident(d.one("SELECT DATABASE()")) + ".* TO " + name)
		cfg := d.cfg.Clone()
		cfg.User, cfg.Passwd = name, "p"
		theirs := *d
		theirs.db = pool(t, cfg)
		b := theirs.branch(newXID())
		b.must(1, "INSERT INTO a VALUES (1, 1)")
		if _, err := b.run("INSERT INTO a SELECT id + 1, v FROM a"); (Dialect{}).Classify(err) != undo.Denied || !b.kept {
			t.Errorf("%v, kept %v", err, b.kept)
		}
		b.must(1, "UPDATE a SET v = 2")
		b.commit()
		d.mustAbort(b.xid)
	})
}

// TestKeyOfItsOwn: the server may give tables without a primary key one, which
// generates values.
func TestKeyOfItsOwn(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		if !d.isMySQL() {
			return // which gives none
		}
		d.exec("CREATE TABLE a (id INT AUTO_INCREMENT PRIMARY KEY, v INT)")
		b := d.branch(newXID(), "SET SESSION sql_generate_invisible_primary_key=ON")
		b.must(1, "INSERT INTO a (v) VALUES (1)")
		b.must(1, "INSERT INTO a (id, v) SELECT id + 50, v FROM a")
		var n int
		if err := b.c.QueryRowContext(t.Context(), "SELECT LAST_INSERT_ID()").Scan(&n); err != nil || n != 1 {
			t.Errorf("LAST_INSERT_ID() = %d, %v, want 1", n, err)
		}
		b.commit()
		d.mustAbort(b.xid)
	})
}

// TestOddNamesAndKeys: quotes in names, keys that differ in case, a key in two parts.
func TestOddNamesAndKeys(t *testing.T) {
	same(t, &fixture{
		make: []string{
			"CREATE TABLE ci (k VARCHAR(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci PRIMARY KEY, v INT)",
			"CREATE TABLE co (g INT, id INT AUTO_INCREMENT, v INT, PRIMARY KEY (g,id), KEY (id))",
			"CREATE TABLE `we``ird` (`a``b` INT PRIMARY KEY, `c'd` INT, `e\"f` VARCHAR(9) UNIQUE)",
		},
		fill:   []string{"INSERT INTO ci VALUES ('a',1),('b',2)", "INSERT INTO co (g,v) VALUES (5,1),(1,2)", "INSERT INTO `we``ird` VALUES (1,1,'x')"},
		tables: []string{"ci", "co", "`we``ird`"},
		hold:   []string{"UPDATE ci SET v = v + 1", "UPDATE co SET v = v + 1", "UPDATE `we``ird` SET `c'd` = 9"},
	}, []sameCase{
		{text: "UPDATE ci SET k = 'A' WHERE k = 'a'"},
		{text: "UPDATE ci SET k = UPPER(k), v = v + 1"},
		{text: "INSERT INTO co (g, v) SELECT g, v FROM co", free: true},
		{text: "INSERT INTO co (g, v) SELECT 0, v FROM co UNION ALL SELECT 9, 9", free: true, before: "INSERT INTO co (g,v) VALUES (7,7)"},
		{text: "REPLACE INTO co (g, id, v) SELECT g, id, v + (g = 1) FROM co UNION ALL SELECT 9, 9, 9"},
		{text: "REPLACE INTO co (g, id, v) VALUES (5, 1, 1), (2, 2, 2)"},
		{text: "REPLACE INTO ci SELECT UPPER(k), 2 FROM ci UNION ALL SELECT 'Q', 3"},
		{text: "REPLACE INTO ci VALUES ('A', 1), ('b', 2), ('x ', 3)", before: "UPDATE ci SET v = v + 1"},
		{text: "REPLACE INTO `we``ird` SELECT `a``b` + 1, 1, `e\"f` FROM `we``ird`"},
		{text: "INSERT INTO `we``ird` SELECT `a``b`, 1, 'y' FROM `we``ird` ON DUPLICATE KEY UPDATE `c'd` = VALUES(`c'd`) + 1"},
		{text: "INSERT IGNORE INTO ci SELECT 'q', 1 UNION ALL SELECT 'Q', 2 UNION ALL SELECT 'A', 3"},
	})
}
