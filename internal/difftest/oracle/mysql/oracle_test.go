package mysql_test

import (
	"strings"
	"testing"

	"github.com/globaltx/globaltx/internal/difftest"
	"github.com/globaltx/globaltx/internal/difftest/oracle/mysql"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

func parse(t *testing.T, text string, d sqltext.Dialect, m sqltext.Mode) *sqltext.Statement {
	t.Helper()
	st, err := sqltext.Parse(text, d, m)
	if err != nil {
		t.Fatalf("refused: %v", err)
	}
	return st
}

// both are read alike on MySQL and MariaDB.
var both = []string{
	"SELECT 1",
	"SELECT a, `b c` FROM t WHERE a = ? ORDER BY b LIMIT ?, 10",
	"(SELECT a FROM t) UNION ALL (SELECT b FROM s LIMIT 1) ORDER BY 1",
	"WITH c AS (SELECT 1 AS x), d (y) AS (SELECT x FROM c) SELECT * FROM d",
	"WITH RECURSIVE c AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM c WHERE n < ?) SELECT n FROM c",
	"SELECT * FROM t WHERE id = ? FOR UPDATE",
	"SELECT * FROM db.t AS x WHERE x.id IN (?, ?) ORDER BY x.id DESC LIMIT 2 FOR UPDATE",
	"SELECT * FROM t LOCK IN SHARE MODE",
	"SELECT * FROM t, s WHERE t.a = s.a FOR UPDATE",
	"SELECT * FROM (SELECT a FROM t FOR UPDATE) x",
	"SELECT count(*), max(a) OVER (PARTITION BY b) FROM t GROUP BY b HAVING count(*) > 1",
	"SELECT @x, @@session.sql_mode, now(), current_timestamp, uuid()",
	"SHOW TABLES",
	"SHOW VARIABLES LIKE 'a%'",
	"EXPLAIN SELECT * FROM t WHERE a = ?",
	"EXPLAIN UPDATE t SET a = 1 WHERE b = f(2)",
	"SAVEPOINT a",
	"ROLLBACK TO SAVEPOINT `a b`",
	"RELEASE SAVEPOINT a",
	"UPDATE t SET a = 1",
	"UPDATE t SET a = a + 1, `b``c` = 'x\\'y' WHERE id = ? AND b <> \"z\"; -- end",
	"/* lead */ UPDATE db.t AS x SET x.a = ?, b = DEFAULT WHERE x.id = ? ORDER BY x.id, b DESC LIMIT ?",
	"UPDATE LOW_PRIORITY IGNORE t x SET a = CASE WHEN b THEN 1 ELSE ? END WHERE c BETWEEN 1 AND 2 AND d LIKE '%?%'",
	"UPDATE t PARTITION (p0, p1) AS x USE INDEX (i, j) SET a = 1 WHERE b = 1",
	"UPDATE t SET a = a -> '$.x', b = b ->> '$.y', c = d + INTERVAL 1 DAY WHERE e SOUNDS LIKE 'x'",
	"UPDATE t SET a = (SELECT max(b) FROM s WHERE s.id = t.id LIMIT 1) WHERE EXISTS (SELECT 1 FROM s WHERE a = ?)",
	"UPDATE t SET a = trim(BOTH 'x' FROM b), c = group_concat(a ORDER BY b SEPARATOR ',') WHERE a = date_add(b, INTERVAL 1 DAY)",
	"UPDATE t SET a = rand() # the rest\nWHERE a IS NOT NULL AND NOT (b XOR c)",
	"UPDATE t JOIN s ON t.id = s.id SET t.a = s.a WHERE s.b = ?",
	"UPDATE t, db.s AS x SET t.a = x.a, x.b = 2 WHERE t.id = x.id",
	"UPDATE t LEFT JOIN (s, u) ON t.id = s.id AND t.id = u.id SET t.a = 1",
	"UPDATE t, s SET a = 1 WHERE b = 2",
	"UPDATE t JOIN (SELECT id, sum(x) AS x FROM s GROUP BY id) d ON d.id = t.id SET t.a = d.x",
	"UPDATE t STRAIGHT_JOIN s USING (id) SET s.a = t.a",
	"DELETE FROM t",
	"DELETE FROM db.t WHERE id IN (SELECT id FROM s WHERE a = ?) ORDER BY id LIMIT 5",
	"DELETE LOW_PRIORITY QUICK IGNORE FROM t WHERE a = 1",
	"DELETE FROM t PARTITION (p0) WHERE a = 1",
	"DELETE t FROM t JOIN s ON t.id = s.id WHERE s.a = ?",
	"DELETE x, s.* FROM t AS x, s WHERE x.id = s.id",
	"DELETE FROM x USING t AS x LEFT JOIN s ON x.id = s.id WHERE s.id IS NULL",
	"DELETE db.t FROM db.t JOIN s USING (id)",
	"INSERT INTO t VALUES (1, 'a', NULL, DEFAULT, ?)",
	"INSERT INTO db.t (a, `b c`) VALUES (?, -1.5), (now(), 'x''y')",
	"INSERT t () VALUES ()",
	"INSERT LOW_PRIORITY IGNORE INTO t (a) VALUES (TRUE)",
	"INSERT INTO t SET a = 1, b = f(?)",
	"INSERT INTO t PARTITION (p1) (a) VALUES (0x1F)",
	"INSERT INTO t (a) SELECT a FROM s WHERE b = ? ORDER BY c LIMIT 3",
	"INSERT INTO t SELECT a FROM s, u ON DUPLICATE KEY UPDATE a = 1",
	"INSERT INTO t (a) WITH c AS (SELECT 1) SELECT * FROM c",
	"INSERT INTO t (SELECT 1 UNION SELECT 2)",
	"INSERT INTO t (a, b) VALUES (?, ?) ON DUPLICATE KEY UPDATE a = VALUES(a), t.b = b + ?",
	"REPLACE INTO t (a) VALUES (1)",
	"REPLACE t SET a = ?",
	"REPLACE INTO t SELECT * FROM s",
	"UPDATE t SET a = ?; DELETE FROM s WHERE b = ? AND c = uuid(); SELECT ?",
	"SAVEPOINT a;; UPDATE t SET a = @v;",
	"SELECT CHAR/*/ */(65), INSERT/* ( */('a', 1, 1, 'b'), CONVERT # x\n(f, CHAR), CONVERT(f USING utf8mb4), concat -- x\n(a)",
	"INSERT INTO t VALUES (+/**/1, -/* c */5, - \f 5, 5./**/)#x",
	"UPDATE t SET a = 5.#x",
	"UPDATE t JOIN s ON 1.\nSET t.a = 1",
	"SELECT _utf8mb4'x' COLLATE utf8mb4_bin, CAST(a AS CHAR(3))",
}

// onlyMySQL are read on MySQL alone.
var onlyMySQL = []string{
	"WITH c AS (SELECT id FROM s WHERE a = ?) UPDATE t SET a = 1 WHERE id IN (SELECT id FROM c)",
	"WITH c AS (SELECT id FROM s), d AS (SELECT 2) DELETE FROM t WHERE id IN (SELECT id FROM c)",
	"WITH c AS (SELECT 1 AS id) UPDATE t JOIN c ON t.id = c.id SET t.a = 1",
	"WITH c AS (SELECT 1 AS id) DELETE t FROM t JOIN c ON t.id = c.id",
	"DELETE FROM t AS x WHERE x.id = ?",
	"INSERT INTO t (a) VALUES (1) AS new ON DUPLICATE KEY UPDATE a = new.a",
	"INSERT INTO t (a, b) VALUES (1, ?) AS new (x, y) ON DUPLICATE KEY UPDATE a = x + y",
	"INSERT INTO t VALUES ROW(1, ?), ROW(2, NULL)",
	"INSERT INTO t TABLE s",
	"TABLE t",
	"SELECT * FROM t WHERE id = 1 FOR UPDATE SKIP LOCKED",
	"SELECT * FROM t FOR SHARE OF t NOWAIT",
	"UPDATE /*+ NO_MERGE(t) */ t SET a = 1",
	"SELECT a MEMBER OF ('[1]'), json_value(b, '$.a' RETURNING SIGNED) FROM t",
}

// onlyMariaDB are read on MariaDB alone.
var onlyMariaDB = []string{
	"DELETE FROM t WHERE a = ? RETURNING id, b AS c, f(?)",
	"DELETE FROM t ORDER BY a LIMIT 1 RETURNING *",
	"INSERT INTO t (a) VALUES (?) RETURNING id",
	"INSERT INTO t (a) VALUES (1) RETURNING/*+ QB_NAME(x) */ a, b",
	"INSERT INTO t (a) VALUES (1) ON DUPLICATE KEY UPDATE a = 2 RETURNING a, @x /* more */ ;",
	"REPLACE INTO t (a) SELECT a FROM s RETURNING /* all */ *",
	"DELETE FROM t RETURNING a; UPDATE s SET b = ?; INSERT INTO u VALUES (?) RETURNING ?",
	"SELECT * FROM t FOR UPDATE WAIT 5",
}

func TestEqual(t *testing.T) {
	type row struct {
		d    sqltext.Dialect
		text string
	}
	var rows []row
	for _, text := range both {
		rows = append(rows, row{sqltext.MySQL, text}, row{sqltext.MariaDB, text})
	}
	for _, text := range onlyMySQL {
		rows = append(rows, row{sqltext.MySQL, text})
	}
	for _, text := range onlyMariaDB {
		rows = append(rows, row{sqltext.MariaDB, text})
	}
	o := mysql.New(sqltext.Mode{})
	for _, r := range rows {
		name := map[sqltext.Dialect]string{sqltext.MySQL: "mysql/", sqltext.MariaDB: "mariadb/"}[r.d]
		t.Run(name+r.text, func(t *testing.T) {
			if v, detail := o.Compare(parse(t, r.text, r.d, sqltext.Mode{})); v != difftest.Equal {
				t.Errorf("verdict %d: %s", v, detail)
			}
		})
	}
}

// TestModes has texts whose meaning hangs on the mode.
func TestModes(t *testing.T) {
	for _, tt := range []struct {
		text  string
		m     sqltext.Mode
		wrong sqltext.Mode // another mode, in which the parser reads something else
	}{
		{`UPDATE "t x" SET "a" = 'b' WHERE "c" = "d"`, sqltext.Mode{ANSIQuotes: true}, sqltext.Mode{}},
		{`INSERT INTO t VALUES ("b")`, sqltext.Mode{}, sqltext.Mode{ANSIQuotes: true}},
		{`UPDATE t SET a = '\' WHERE b = 'c\'`, sqltext.Mode{NoBackslashEscapes: true}, sqltext.Mode{}},
		{`INSERT INTO t VALUES ("a\"b", "c")`, sqltext.Mode{}, sqltext.Mode{ANSIQuotes: true, NoBackslashEscapes: true}},
	} {
		t.Run(tt.text, func(t *testing.T) {
			st := parse(t, tt.text, sqltext.MySQL, tt.m)
			if v, detail := mysql.New(tt.m).Compare(st); v != difftest.Equal {
				t.Errorf("verdict %d: %s", v, detail)
			}
			if v, detail := mysql.New(tt.wrong).Compare(st); v == difftest.Equal {
				t.Errorf("equal in another mode as well: %s", detail)
			}
		})
	}
}

// TestUnread has what the reference parser cannot judge.
func TestUnread(t *testing.T) {
	for _, tt := range []struct {
		d    sqltext.Dialect
		text string
	}{
		{sqltext.MySQL, "UPDATE t SET a = " + strings.Repeat("9", 90)},
		{sqltext.MySQL, "UPDATE t SET a = 1 WHERE b = '" + strings.Repeat("(", 600) + "'"},
		{sqltext.MySQL, "UPDATE t SET a = '" + strings.Repeat("x", 70000) + "'"},
		{sqltext.MySQL, "UPDATE t SET a = tidb_current_tso"}, // a column to MySQL
		{sqltext.MySQL, "DELETE IGNORE QUICK FROM t"},
		{sqltext.MySQL, "UPDATE t SET a = t./* x */start ORDER BY 1E-2"},
		{sqltext.MySQL, "UPDATE t SET t.\n begin='x'where(100,2)is true"},
		{sqltext.MariaDB, "SELECT * FROM t FOR SYSTEM_TIME ALL"},
	} {
		t.Run(tt.text[:min(len(tt.text), 40)], func(t *testing.T) {
			v, detail := mysql.New(sqltext.Mode{}).Compare(parse(t, tt.text, tt.d, sqltext.Mode{}))
			if v != difftest.Unread || detail == "" {
				t.Errorf("verdict %d: %q", v, detail)
			}
		})
	}
}
