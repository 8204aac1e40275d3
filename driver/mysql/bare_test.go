package mysql

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	base "github.com/go-sql-driver/mysql"
	"github.com/google/go-cmp/cmp"
)

// script is what both drivers are made to do on one connection.
type script struct {
	before []string // on the same connection
	text   string
	args   []any
}

// bareVariants are the parameters of DSNs under which nothing may differ.
var bareVariants = []string{
	"", "interpolateParams=true", "multiStatements=true", "multiStatements=true&interpolateParams=true",
	"clientFoundRows=true", "parseTime=true&loc=Europe%2FVienna", "compress=true", "columnsWithAlias=true",
	"interpolateParams=true&maxAllowedPacket=4096", "collation=gbk_chinese_ci&charset=gbk",
}

// TestBare: on one connection "mysql" and "gtx-mysql" give the same columns, Go
// types, values, counts and errors, and leave the session in the same state.
func TestBare(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		for _, text := range barePlaces {
			d.exec(text)
		}
		if strings.Contains(d.one("SELECT @@version"), "MariaDB") {
			d.exec("SET GLOBAL local_infile = 1")
		} else {
			d.exec("SET GLOBAL local_infile = ON")
		}
		base.RegisterReaderHandler("bare", func() io.Reader { return strings.NewReader("7;seven\n8;eight\n") })
		t.Cleanup(func() { base.DeregisterReaderHandler("bare") })
		for v, params := range bareVariants {
			t.Run(params, func(t *testing.T) {
				bare, ours := newTranscriber(t, "mysql", d.dsn(params)), newTranscriber(t, "gtx-mysql", d.dsn(params))
				for i, s := range bareScripts() {
					if v > 1 && i%len(bareVariants) != v || v == 1 && len(s.args) == 0 && i%2 != 0 {
						continue // what the flags change is the first ones' matter; of the others each has its share
					}
					for _, way := range []string{"query", "exec", "prepare"} {
						if way == "exec" && len(s.args) > 0 && !strings.HasPrefix(s.text, "INSERT") && !strings.HasPrefix(s.text, "UPDATE") {
							continue // go-sql-driver waits for ever for columns that MariaDB leaves out
						}
						want, got := bare.run(s, way), ours.run(s, way)
						if len(s.args) > 0 && way != "prepare" && strings.Contains(want[0], " 1064 ") {
							want[0], _, _ = strings.Cut(want[0], " near ") // ours has question marks there
							got[0], _, _ = strings.Cut(got[0], " near ")
						}
						if diff := cmp.Diff(want, got); diff != "" {
							t.Errorf("%s %q %.80q: %s", way, s.text, fmt.Sprint(s.args), diff)
						}
					}
				}
			})
		}
	})
}

// dsn gives the DSN of the database with other parameters.
func (d *database) dsn(params string) string {
	cfg := d.cfg.Clone()
	cfg.MultiStatements, cfg.InterpolateParams = false, false
	dsn := cfg.FormatDSN()
	switch {
	case params == "":
		return dsn
	case strings.Contains(dsn, "?"):
		return dsn + "&" + params
	}
	return dsn + "?" + params
}

var barePlaces = []string{
	"CREATE PROCEDURE sets(n int) BEGIN SELECT n, 'a;b'; SELECT 2.5 AS x; INSERT INTO b (s) VALUES ('p'); END",
	"CREATE PROCEDURE quiet() UPDATE b SET s = 'q' WHERE id < 3",
	"CREATE TABLE real_one (id int PRIMARY KEY)",
}

// bareState are read after each script: what it left in the session and the table.
var bareState = []string{
	"SELECT ROW_COUNT(), LAST_INSERT_ID(), FOUND_ROWS(), @@warning_count, @@error_count, @@autocommit, @@sql_mode, @x, DATABASE()",
	"SELECT * FROM b ORDER BY id",
}

type transcriber struct {
	*testing.T
	db *sql.DB
	c  *sql.Conn
}

func newTranscriber(t *testing.T, driverName, dsn string) *transcriber {
	t.Helper()
	db, err := sql.Open(driverName, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	tr := &transcriber{T: t, db: db}
	tr.connect()
	return tr
}

func (tr *transcriber) connect() {
	c, err := tr.db.Conn(tr.Context())
	if err != nil {
		tr.Fatal(err)
	}
	tr.c = c
}

// run gives everything that a program can see of a script.
func (tr *transcriber) run(s script, way string) (seen []string) {
	tr.Helper()
	for _, text := range slices.Concat([]string{
		"SET SESSION sql_mode = @@GLOBAL.sql_mode, lock_wait_timeout = 10, @x = 0",
		"DROP TEMPORARY TABLE IF EXISTS b",
		"CREATE TEMPORARY TABLE b (id bigint AUTO_INCREMENT PRIMARY KEY, s varchar(9000), n bigint unsigned, d datetime(6), j json, f double, k decimal(20,5))",
		"INSERT INTO b (s, n, d, f, k) VALUES ('a', 1, '2024-02-29 12:00:00.5', 1.5, 2.5), ('b', NULL, NULL, NULL, NULL), ('c;', 18446744073709551615, '2024-07-01', -0.1, -3)",
		"SELECT 1", // FOUND_ROWS of a new connection to MariaDB is anything
	}, s.before) {
		if _, err := tr.c.ExecContext(tr.Context(), text); err != nil {
			tr.Fatalf("%s: %v", text, err)
		}
	}
	seen = append(seen, tr.do(s, way)...)
	defer tr.drop(s.text)
	for _, text := range bareState {
		seen = append(seen, tr.do(script{text: text}, "query")...)
	}
	for _, text := range []string{"ROLLBACK", "UNLOCK TABLES"} { // no lock is in the way of the other's
		if _, err := tr.c.ExecContext(tr.Context(), text); err != nil {
			tr.Fatalf("after %q: %s: %v", s.text, text, err)
		}
	}
	if len(s.before) == 0 {
		return seen
	}
	// What was set may say how texts are read: nothing of it stays.
	if err := tr.c.Close(); err != nil {
		tr.Fatal(err)
	}
	tr.db.SetMaxIdleConns(0)
	tr.connect()
	return seen
}

// drop removes what text may have made.
func (tr *transcriber) drop(text string) {
	rest, creates := strings.CutPrefix(text, "CREATE ")
	if !creates {
		return
	}
	kind, _, _ := strings.Cut(rest, " ")
	if _, err := tr.c.ExecContext(tr.Context(), "DROP "+kind+" IF EXISTS p"); err != nil {
		tr.Fatalf("drop %s: %v", kind, err)
	}
}

func (tr *transcriber) do(s script, way string) []string {
	ctx := tr.Context()
	switch way {
	case "exec":
		res, err := tr.c.ExecContext(ctx, s.text, s.args...)
		return shownResult(res, err)
	case "prepare":
		st, err := tr.c.PrepareContext(ctx, s.text)
		if err != nil {
			return []string{"prepare: " + err.Error()}
		}
		rows, err := st.QueryContext(ctx, s.args...)
		out := shownRows(rows, err)
		if err := st.Close(); err != nil {
			out = append(out, "close: "+err.Error())
		}
		return out
	}
	rows, err := tr.c.QueryContext(ctx, s.text, s.args...)
	return shownRows(rows, err)
}

func shownResult(res sql.Result, err error) []string {
	if err != nil {
		return []string{"error: " + err.Error()}
	}
	n, nerr := res.RowsAffected()
	id, iderr := res.LastInsertId()
	return []string{fmt.Sprint("affected ", n, nerr, " id ", id, iderr)}
}

// shownRows reads rows to their end.
func shownRows(rows *sql.Rows, err error) (out []string) {
	if err != nil {
		return []string{"error: " + err.Error()}
	}
	for more := true; more; more = rows.NextResultSet() {
		types, err := rows.ColumnTypes()
		if err != nil {
			out = append(out, "types: "+err.Error())
		}
		for _, c := range types {
			length, hasLength := c.Length()
			precision, scale, hasScale := c.DecimalSize()
			nullable, hasNullable := c.Nullable()
			out = append(out, fmt.Sprint("column ", c.Name(), " ", c.DatabaseTypeName(), " ", c.ScanType(), " ",
				length, hasLength, precision, scale, hasScale, nullable, hasNullable))
		}
		line, to := make([]any, len(types)), make([]any, len(types))
		for i := range line {
			to[i] = &line[i]
		}
		for rows.Next() {
			if err := rows.Scan(to...); err != nil {
				out = append(out, "scan: "+err.Error())
			}
			for _, v := range line {
				out = append(out, fmt.Sprintf("%T %v", v, v))
			}
		}
	}
	return append(out, fmt.Sprint("end: ", rows.Err(), rows.Close()))
}

func bareScripts() []script {
	var all []script
	for _, text := range bareTexts {
		all = append(all, script{text: text})
	}
	quotes := "SET SESSION sql_mode = CONCAT(@@sql_mode, ',ANSI_QUOTES')"
	slashes := "SET SESSION sql_mode = CONCAT(@@sql_mode, ',NO_BACKSLASH_ESCAPES')"
	for _, text := range []string{
		`SELECT 'a\'; SELECT 2; -- '`, `SELECT 'a\\'; SELECT 2; -- '`, `SELECT "a\"; SELECT 2; -- "`, `SELECT 1 AS "a;b"`, `SELECT 1 AS "a\"; SELECT 2; -- "`,
		"SELECT '\xb1\\'; SELECT 2; -- '", "SELECT 1 AS `\xb1`; SELECT 2; -- `",
	} {
		all = append(all, script{text: text}, script{before: []string{quotes}, text: text}, script{before: []string{slashes}, text: text},
			script{before: []string{quotes, slashes}, text: text}, script{before: []string{"SET NAMES gbk"}, text: text})
	}
	instant := time.Date(2024, 3, 1, 23, 59, 59, 123456789, time.FixedZone("", 3600))
	for _, v := range []any{
		nil, 1, int8(-1), uint64(1<<63 + 5), 1.25, true, "a", "it's; \\ \" ` \x00", []byte("b;"), []byte(nil),
		[]byte{},
		json.RawMessage(`{"a": "b;"}`), json.RawMessage(nil),
		instant,
		time.Time{},
		sql.NullString{String: "x", Valid: true},
		sql.NullInt64{},
		new("p"), (*string)(nil),
		[]string{"no"},
		struct{}{},
	} {
		all = append(all, script{text: "SELECT ?", args: []any{v}}, script{text: "SELECT ?, s FROM b WHERE id = ?;", args: []any{v, 1}},
			script{text: "SELECT ?, '?;', `s` FROM b; -- ?", args: []any{v}}, script{text: "SELECT ?; SELECT 2", args: []any{v}})
	}
	big := strings.Repeat("x;", 4000)
	return append(all,
		script{text: "INSERT INTO b (s, n, d, j) VALUES (?, ?, ?, ?);", args: []any{"a;b", uint64(1 << 63), instant, json.RawMessage(`[1]`)}},
		script{text: "INSERT INTO b (s) VALUES (?)", args: []any{big}},
		script{text: "INSERT INTO b (s) VALUES (?); -- c", args: []any{bytes.Repeat([]byte("y"), 8000)}},
		script{text: "UPDATE b SET s = ? WHERE id IN (?, ?) # c;", args: []any{"a", 1, 2}},
		script{text: "UPDATE b SET s = ?; UPDATE b SET n = ?", args: []any{"a", 1}},
		script{text: "SELECT ?", args: nil}, script{text: "SELECT ?;", args: nil}, script{text: "SELECT 1;", args: []any{1}},
		script{text: "CALL sets(?);", args: []any{4}}, script{text: "CALL sets(?); SELECT 5", args: []any{4}},
		script{text: "SELECT @x;", args: nil, before: []string{"SET @x = 'set'"}},
		script{text: "SHOW WARNINGS;", before: []string{"SELECT 1/0, CAST('a' AS SIGNED)"}},
		script{text: "SHOW WARNINGS; -- c", before: []string{"SELECT CAST('a' AS SIGNED)"}},
		script{text: "SELECT ROW_COUNT(), LAST_INSERT_ID() /* ; */", before: []string{"INSERT INTO b (s) VALUES ('z')"}},
		script{text: "INSERT INTO b (s) VALUES ('w'); # read-only", before: []string{"START TRANSACTION READ ONLY"}},
	)
}

var bareTexts = []string{
	"SELECT 1", "SELECT 1;", "SELECT 1;;", " SELECT 1 ; ; \n", ";", "; SELECT 1", "", " ", "-- x", "/* ; */", "# ;",
	"SELECT 1; -- c", "SELECT 1; /* c */", "SELECT 1 -- ;", "SELECT 1; # x", "SELECT 1; --", "SELECT 1; ; -- c", "SELECT 1; -- c\n;", "SELECT 1;;-- c",
	"SELECT 1; SELECT 2", "SELECT 1;SELEC 2", "SELEC 1; SELECT 2", "SELEC 1; -- c", "SELEC 1;", "SELECT * FROM missing; SELECT 1", "SELECT * FROM missing;", "SELECT * FROM missing; -- c",
	"SELECT 1; \x00", "SELECT 1;\x00", "SELECT 1 \x00; SELECT 2", "SELECT 1\x00; DROP TABLE b", "SELECT 1\x00", "\x00;",
	"SELECT 1 /*!50000 ; */", "SELECT 1 /*!50000 ; SELECT 2 */", "SELECT 1 /*!999999 ; SELECT 2 */", "SELECT 1 /*M! ; SELECT 2 */", "SELECT 1 /*M!100000 ; */",
	"SELECT 1; /*!999999 SELECT 2 */", "SELECT 1; /*! */", "SELECT 1; /*! SELECT 2 */", "SELECT 1; /* unterminated", "SELECT 1 /*! ; ", "SELECT 1 /* ; ", "SELECT /*! 1; */", "SELECT /*+ MAX_EXECUTION_TIME(5000) */ 1;",
	"SELECT /*! 1 */;", "SELECT 1 */;", "SELECT 1 */; SELECT 2",
	"SELECT 'a; ", "SELECT 'a''; b'", "SELECT \"a;b\"", "SELECT `a;b`", "SELECT `s;", "SELECT 'ö;', 'ü\\';'", `SELECT \N;`, "SELECT $$a;b$$", "SELECT 1 AS a$b;", "SELECT 5--1;", "SELECT 5--1; SELECT 2", "SELECT 5 --1;",
	"CREATE PROCEDURE p() BEGIN SELECT 1; END", "CREATE PROCEDURE p() BEGIN SELECT 1; END;", "CREATE PROCEDURE p() BEGIN SELECT 1; END; DROP TABLE b",
	"CREATE PROCEDURE p() BEGIN SELECT 1; END; -- c", "CREATE PROCEDURE p() SELECT 1; DROP TABLE b", "CREATE PROCEDURE p() SELECT 1; -- c", "CREATE PROCEDURE p() SELECT 1 /*!50000 ; DROP TABLE b */",
	"CREATE PROCEDURE p() l: BEGIN IF 1 THEN LEAVE l; END IF; END l; DROP TABLE b", "CREATE PROCEDURE p() BEGIN SELEC 1; END", "CREATE PROCEDURE p() BEGIN SELECT 1; END;; DROP TABLE b",
	"CREATE PROCEDURE p() BEGIN DECLARE c CURSOR FOR SELECT ';'; OPEN c; END /* ; */", "CREATE PROCEDURE missing.p() BEGIN SELECT 1; END",
	"CREATE TRIGGER p BEFORE INSERT ON b FOR EACH ROW BEGIN SET NEW.s = 'a;b'; END", "CREATE TRIGGER p BEFORE INSERT ON real_one FOR EACH ROW SET NEW.id = 1; DROP TABLE b",
	"CREATE EVENT p ON SCHEDULE EVERY 1 DAY DO SELECT 1; DROP TABLE b", "DROP PROCEDURE IF EXISTS p;", "DROP PROCEDURE IF EXISTS p; DROP TABLE b",
	"USE missing; DROP TABLE b", "LOCK TABLES b READ; DROP TABLE b", "UNLOCK TABLES;", "UNLOCK TABLES; -- c",
	"PREPARE z FROM 'SELECT 1; SELECT 2'", "PREPARE z FROM 'SELECT 1'; DROP TABLE b", "PREPARE z FROM 'SELECT 1;';", "DEALLOCATE PREPARE nothing; DROP TABLE b",
	"LOAD DATA LOCAL INFILE 'Reader::bare' INTO TABLE b FIELDS TERMINATED BY ';' (n, s)", "LOAD DATA LOCAL INFILE 'Reader::bare' INTO TABLE b FIELDS TERMINATED BY ';' (n, s); -- c",
	"LOAD DATA LOCAL INFILE 'Reader::bare' INTO TABLE b; DROP TABLE b",
	"XA ROLLBACK 'none'; DROP TABLE b", "XA ROLLBACK 'none';", "HELP 'x'; DROP TABLE b", "HANDLER real_one OPEN; DROP TABLE b", "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'a;b'", "SIGNAL SQLSTATE '45000'; DROP TABLE b",
	"GET DIAGNOSTICS @x = NUMBER;", "GET DIAGNOSTICS @x = NUMBER; DROP TABLE b", "BEGIN;", "BEGIN; DROP TABLE b", "COMMIT; -- c", "ROLLBACK;", "START TRANSACTION; -- c",
	"BEGIN NOT ATOMIC SET @x = 1; END", "BEGIN NOT ATOMIC SET @x = 1; END; DROP TABLE b", "IF 1 THEN SET @x = 2; END IF", "IF 1 THEN SET @x = 2; END IF;",
	"SHOW WARNINGS; DROP TABLE b", "SET @x = 1; SET @x = 2", "SET @x = 'a;b'", "SET @x = 1;", "SET @x = 1; -- c",
	"CALL sets(1)", "CALL sets(1);", "CALL sets(1); -- c", "CALL sets(1); SELECT 1", "CALL quiet();", "CALL quiet(); -- c", "CALL missing(); SELECT 1", "CALL missing();",
	"KILL 0; SELECT 1", "EXPLAIN SELECT 1; DROP TABLE b", "ALTER TABLE b ADD z int; DROP TABLE b", "ALTER TABLE b ADD z int; -- c", "DESCRIBE b;", "SHOW COLUMNS FROM b; -- c",
	"CREATE FUNCTION p() RETURNS int DETERMINISTIC RETURN 1; DROP TABLE b", "BINLOG 'x'; DROP TABLE b", "RESIGNAL; DROP TABLE b", "RESET nothing; -- c",
	"SELECT * FROM b", "SELECT * FROM b;", "SELECT * FROM b; -- c", "SELECT count(*), sum(n), avg(f), max(d), 'a;' FROM b;", "SELECT SQL_CALC_FOUND_ROWS id FROM b LIMIT 1;", "TABLE b;", "VALUES ROW(1, ';');",
	"INSERT INTO b (s) VALUES ('x;y')", "INSERT INTO b (s) VALUES ('x'), ('y');", "INSERT INTO b (s) VALUES ('x'); -- c", "INSERT INTO b (s) VALUES ('x'); INSERT INTO b (s) VALUES ('y')", "INSERT INTO b (id) VALUES (1);", "INSERT INTO b (id) VALUES (1); -- c",
	"INSERT INTO b (id, s) VALUES (1, 'n') ON DUPLICATE KEY UPDATE s = 'n;';", "REPLACE INTO b (id, s) VALUES (1, 'n'); # c", "INSERT IGNORE INTO b (id, n) VALUES (1, -1); /* c */",
	"UPDATE b SET s = 'a';", "UPDATE b SET s = 'a'; -- c", "UPDATE b SET s = 'a' WHERE id = 1;", "UPDATE b SET s = ';' WHERE id = 99", "DELETE FROM b WHERE id > 1;", "DELETE FROM b; DELETE FROM b",
}

// TestBareSession: connections begin with the same variables and attributes.
func TestBareSession(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		for _, params := range []string{"", "clientFoundRows=true&connectionAttributes=a:b", "multiStatements=true&interpolateParams=true", "collation=gbk_chinese_ci&charset=gbk"} {
			bare, ours := newTranscriber(t, "mysql", d.dsn(params)), newTranscriber(t, "gtx-mysql", d.dsn(params))
			for _, text := range []string{
				"SHOW SESSION VARIABLES WHERE Variable_name NOT IN ('pseudo_thread_id', 'timestamp', 'statement_id', 'last_insert_id', 'rand_seed1', 'rand_seed2', 'gtid_binlog_pos', 'gtid_current_pos', 'gtid_binlog_state', 'gtid_executed', 'innodb_stats_last', 'max_statement_time', 'open_files_limit')",
				"SELECT ATTR_NAME, ATTR_VALUE FROM performance_schema.session_connect_attrs WHERE PROCESSLIST_ID = CONNECTION_ID() ORDER BY 1",
			} {
				want, got := bare.do(script{text: text}, "query"), ours.do(script{text: text}, "query")
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%q %s: %s", params, text, diff)
				}
				if strings.HasPrefix(text, "SHOW") && len(want) < 200 {
					t.Errorf("only %d answers", len(want))
				}
			}
		}
	})
}

// TestBareRaw: through sql.Conn.Raw each statement's counts are those of the base.
func TestBareRaw(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE r (id int AUTO_INCREMENT PRIMARY KEY, s varchar(9))")
		for text, params := range map[string]string{
			"INSERT INTO r (s) VALUES ('a'), ('b'); UPDATE r SET s = 'c'": "multiStatements=true",
			"INSERT INTO r (s) VALUES ('a'), ('b'); -- c":                 "",
			"INSERT INTO r (s) VALUES ('a;b')":                            "",
		} {
			var each []string
			for _, name := range []string{"mysql", "gtx-mysql"} {
				d.exec("TRUNCATE r")
				tr := newTranscriber(t, name, d.dsn(params))
				err := tr.c.Raw(func(conn any) error {
					res, err := conn.(driver.ExecerContext).ExecContext(context.Background(), text, nil)
					if err != nil {
						return err
					}
					all := res.(base.Result)
					each = append(each, fmt.Sprint(all.AllRowsAffected(), all.AllLastInsertIds()))
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			if each[0] != each[1] {
				t.Errorf("%s: bare %s, ours %s", text, each[0], each[1])
			}
		}
	})
}
