package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/globaltx/globaltx/gtx"
)

// nasty are texts that end a literal, a comment or a statement for whoever reads
// them wrongly. Each would change the table canary if a part of it ran.
var nasty = []string{
	`'`, `''`, `"`, "`", `\`, `\'`, `\\'`, `''; UPDATE canary SET n = 0; --`, `'; UPDATE canary SET n = 0; -- `, `\'; UPDATE canary SET n = 0; #`,
	`" OR 1=1 --`, `' OR '1'='1`, `/*`, `*/`, `*/ UPDATE canary SET n = 0 /*`, `/*! UPDATE canary SET n = 0 */`, `--`, `-- x`, `#`, `?`, `$1`, `:s`, `@s`, `$$`,
	`$tag$`, `$tag$; UPDATE canary SET n = 0; $tag$`, `%s %d %!`, `NULL`, `WHERE`, `x' WHERE '1'='1`, "a\nb -- \nc", "\t", `é€😀'`, "\u2028", `E'\''`, `x'00'`, `0x27`, `;`, `';`,
	`_utf8'x'`, `{"a":"'"}`, `1e1`, `(`, `)`, `,`, `\"`, `\u0027`, `‘’`, `'||(SELECT 1)||'`,
}

// dress is a way to write a text as a literal.
type dress struct {
	name, param string                   // param: what the DSN says for it
	lit         func(text string) string // nil: refused
}

func doubled(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// escaped also takes backslashes for what they are by default on MySQL.
func escaped(s string) string { return doubled(strings.ReplaceAll(s, `\`, `\\`)) }

func dresses(s server) []dress {
	switch s.family() {
	case "gtx-mysql":
		noBackslash := "sql_mode=" + url.QueryEscape("'NO_BACKSLASH_ESCAPES,STRICT_TRANS_TABLES'")
		ansi := "sql_mode=" + url.QueryEscape("'ANSI_QUOTES,STRICT_TRANS_TABLES'")
		return []dress{
			{"backslash", "", escaped},
			{"backslash before quotes", "", func(s string) string {
				return "'" + strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), "'", `\'`) + "'"
			}},
			{"double quotes", "", func(s string) string {
				return `"` + strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), `"`, `""`) + `"`
			}},
			{"no backslash", noBackslash, doubled},
			{"ansi quotes", ansi, escaped},
			{"interpolated", "interpolateParams=true", escaped},
			{"interpolated, no backslash", "interpolateParams=true&" + noBackslash, doubled},
		}
	case "gtx-postgres":
		return []dress{
			{"standard", "", doubled},
			{"E", "", func(s string) string { return "E" + escaped(s) }},
			{"E with backslash", "", func(s string) string {
				return "E'" + strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), "'", `\'`) + "'"
			}},
			{"dollar", "", func(s string) string { return "$q1$" + s + "$q1$" }},
			{"U&", "", func(s string) string { return "U&" + escaped(s) }},
			{"not standard", "standard_conforming_strings=off", nil},
		}
	}
	return []dress{{"standard", "", doubled}}
}

// TestPeers04TextIsNeverRun: elsewhere the WHERE of a statement is written anew
// without its quotes, so that a literal's text runs as SQL. Here statements are
// sent in slices of the user's own text, arguments are the driver's: a corpus of
// texts, as literals in every mode and as arguments, gives what the bare driver
// gives, aborted and committed.
func TestPeers04TextIsNeverRun(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		bus := embedded(t)
		for n, d := range dresses(s) {
			t.Run(d.name, func(t *testing.T) {
				dsn := s.dsn(t)
				if d.param != "" {
					dsn += separator(dsn) + d.param
				}
				db, twin := open(t, s, dsn), outsider(t, s, s.dsn(t))
				for _, x := range []*sql.DB{db, twin} {
					mustExec(t, x, "CREATE TABLE thing (id bigint PRIMARY KEY, n bigint NOT NULL, s varchar(100))")
					mustExec(t, x, "CREATE TABLE canary (id bigint PRIMARY KEY, n bigint NOT NULL)")
					mustExec(t, x, "INSERT INTO canary VALUES (1, 77)")
				}
				if d.lit == nil {
					err := bus.Run(t.Context(), execs(db, "INSERT INTO thing VALUES (1, 0, 'a')"))
					if !errors.Is(err, gtx.ErrUnsupported) {
						t.Errorf("got %v, want a refusal", err)
					}
					wantTable(t, db, nil)
					return
				}
				// Texts in one global transaction, a local one for each.
				work := func(every int) func(ctx context.Context) error {
					return func(ctx context.Context) error {
						for i, text := range nasty {
							if i%every != 0 {
								continue
							}
							id, lit, p := 10*i, d.lit(text), s.holder
							tx, err := db.BeginTx(ctx, nil)
							if err != nil {
								return err
							}
							for _, st := range []struct {
								rows int64
								text string
								args []any
							}{
								{1, fmt.Sprintf("INSERT INTO thing (id, n, s) VALUES (%d, 0, %s)", id, lit), nil},
								{1, fmt.Sprintf("INSERT INTO thing (id, n, s) VALUES (%d, 0, %s)", id+1, p(1)), []any{text}},
								{2, fmt.Sprintf("UPDATE thing SET n = n + 1, s = %s /* ' */ WHERE s = %s -- '", p(1), lit), []any{text}},
								{1, fmt.Sprintf("DELETE FROM thing WHERE s = %s AND id = %s", lit, p(1)), []any{id + 1}},
							} {
								res, err := tx.ExecContext(ctx, st.text, st.args...)
								if err != nil {
									return errors.Join(fmt.Errorf("%s: %w", st.text, err), tx.Rollback())
								}
								if n, err := res.RowsAffected(); err != nil || n != st.rows {
									t.Errorf("%s: %d rows (%v), want %d", st.text, n, err, st.rows)
								}
							}
							if err := tx.Commit(); err != nil {
								return err
							}
						}
						return nil
					}
				}
				every := 1
				if n > 0 {
					every = 4 // images know nothing of how the text was written
				}
				aborted(t, bus, work(every))
				clean(t, db)
				wantTable(t, db, nil)
				committed(t, bus, work(1))
				for i, text := range nasty {
					mustExec(t, twin, fmt.Sprintf("INSERT INTO thing (id, n, s) VALUES (%d, 1, %s)", 10*i, s.holder(1)), text)
				}
				clean(t, db)
				wantTable(t, db, table(t, twin))
				for _, x := range []*sql.DB{db, twin} {
					var n int
					if err := x.QueryRow("SELECT n FROM canary").Scan(&n); err != nil || n != 77 {
						t.Errorf("canary %d (%v): a text has run", n, err)
					}
				}
			})
		}
	})
}

// TestPeers04NamesAreNeverRun: the same for the names of tables, columns and
// aliases. What is refused has not run.
func TestPeers04NamesAreNeverRun(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		bus := embedded(t)
		db := open(t, s, s.dsn(t))
		mustExec(t, db, "CREATE TABLE canary (id bigint PRIMARY KEY, n bigint NOT NULL)")
		mustExec(t, db, "INSERT INTO canary VALUES (1, 77)")
		q := `"`
		if s.driver == "gtx-mysql" {
			q = "`"
		}
		quote := func(name string) string { return q + strings.ReplaceAll(name, q, q+q) + q }
		for i, name := range []string{
			"a b", `a'b`, `a"b`, "a`b", `a\b`, "a.b", "a-b", "a;b", "--", "/*x", "$a$", "select", "ORDER", "Größe", "?", "$1", ":a", "x' OR 1=1 --", "%s", "a''b", `"`, "0", "[a]", "a\nb",
			`\'; UPDATE canary SET n = 0 --x`,
		} {
			table, column, alias := quote(fmt.Sprint("t", i, name)), quote(name), quote(name+"x")
			mustExec(t, db, fmt.Sprintf("CREATE TABLE %s (%s varchar(60) PRIMARY KEY, %s bigint NOT NULL)", table, column, quote(name+"2")))
			mustExec(t, db, fmt.Sprintf("INSERT INTO %s VALUES ('a', 1), ('b', 2)", table))
			rows := func() (out string) {
				t.Helper()
				r, err := db.Query("SELECT * FROM " + table + " ORDER BY 1")
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				for r.Next() {
					var k string
					var n int
					if err := r.Scan(&k, &n); err != nil {
						t.Fatal(err)
					}
					out += fmt.Sprint(k, "=", n, " ")
				}
				return out
			}
			n2 := quote(name + "2")
			for _, st := range []struct{ text, want string }{
				{fmt.Sprintf("UPDATE %s SET %s = %s + 1 WHERE %s = 'a'", table, n2, n2, column), "a=2 b=2 "},
				{fmt.Sprintf("UPDATE %s AS %s SET %s = 9 WHERE %s.%s = 'b'", table, alias, n2, alias, column), "a=1 b=9 "},
				{fmt.Sprintf("INSERT INTO %s (%s, %s) VALUES ('c', 3)", table, column, n2), "a=1 b=2 c=3 "},
				{fmt.Sprintf("DELETE FROM %s WHERE %s > 1", table, n2), "a=1 "},
			} {
				before := rows()
				aborted(t, bus, func(ctx context.Context) error {
					if err := execs(db, st.text)(ctx); err != nil {
						return err
					}
					if got := rows(); got != st.want {
						t.Errorf("%s: %s, want %s", st.text, got, st.want)
					}
					return nil
				})
				clean(t, db)
				if got := rows(); got != before {
					t.Errorf("%s: after the abort %s, before %s", st.text, got, before)
				}
			}
		}
		var n int
		if err := db.QueryRow("SELECT n FROM canary").Scan(&n); err != nil || n != 77 {
			t.Errorf("canary %d (%v): a name has run", n, err)
		}
	})
}

// TestPeers05ImagesAreExact: elsewhere images go through JSON, and what JSON or
// the client's types cannot carry comes back changed while "rolled back" is
// reported. Here the values that others lose come back bit for bit by the
// server's own words; TestTypes goes through all types.
func TestPeers05ImagesAreExact(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		bus := embedded(t)
		db := open(t, s, s.dsn(t))
		columns := map[string][][3]string{ // type, value, how the server tells it
			"gtx-sqlite": {
				{"INTEGER", "9007199254740993", "quote(%s)"}, {"REAL", "0.1", "quote(%s)"}, {"BLOB", "x'00ff27'", "quote(%s)"}, {"TEXT", "'AAECAw=='", "quote(%s)"}, {"", "NULL", "quote(%s)"}, {"TEXT", "''", "quote(%s)"},
			},
			"gtx-mysql": {
				{"BIGINT UNSIGNED", "18446744073709551615", "%s"},
				{"DECIMAL(40,20)", "12345678901234567890.12345678901234567890", "%s"},
				{"BLOB", "x'00ff27'", "HEX(%s)"},
				{"VARCHAR(20)", "'AAECAw=='", "HEX(%s)"},
				{"ENUM('a','b')", "'b'", "%s"},
				{"BOOL", "TRUE", "%s"},
				{"TIMESTAMP(6) NULL", "'2024-10-27 02:30:00.123456'", "%s"},
				{"DATETIME(6)", "'9999-12-31 23:59:59.999999'", "%s"},
				{"DOUBLE", "1e-310", "%s"},
				{"FLOAT", "16777216", "%s+0e0"},
				{"BIT(9)", "b'100000001'", "%s+0"},
				{"TEXT", "NULL", "%s"},
				{"TEXT", "''", "HEX(%s)"},
			},
			"gtx-postgres": {
				{"bigint", "9007199254740993", "%s"},
				{"numeric", "12345678901234567890.12345678901234567890", "%s"},
				{"bytea", `'\x00ff27'`, "%s"},
				{"text", "'AAECAw=='", "%s"},
				{"bool", "true", "%s"},
				{"uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "%s"},
				{"int[]", "'[2:3]={1,NULL}'", "%s"},
				{"timestamptz", "'2024-10-27 02:30:00.123456+02'", "%s"},
				{"float8", "'-0'", "%s"},
				{"jsonb", `'{"n": 9007199254740993}'`, "%s"},
				{"json", `'{ "a":1,"a":2}'`, "%s"},
				{"numeric", "'NaN'", "%s"},
				{"text", "NULL", "%s"},
				{"text", "''", "%s"},
			},
		}[s.family()]
		ddl, values, shows := "CREATE TABLE wide (id INT PRIMARY KEY", "INSERT INTO wide VALUES (1", make([]string, len(columns))
		set := make([]string, len(columns))
		for i, c := range columns {
			name := fmt.Sprint("c", i)
			ddl += ", " + name + " " + c[0]
			values += ", " + c[1]
			shows[i] = fmt.Sprintf(c[2], name)
			set[i] = name + " = NULL"
		}
		mustExec(t, db, ddl+")")
		mustExec(t, db, values+")")
		show := func() []sql.NullString {
			t.Helper()
			line, into := make([]sql.NullString, len(columns)), make([]any, len(columns))
			for i := range line {
				into[i] = &line[i]
			}
			if err := db.QueryRow("SELECT " + strings.Join(shows, ", ") + " FROM wide").Scan(into...); err != nil {
				t.Fatal(err)
			}
			return line
		}
		before := show()
		for _, text := range []string{"UPDATE wide SET " + strings.Join(set, ", "), "DELETE FROM wide", "UPDATE wide SET id = 2"} {
			aborted(t, bus, execs(db, text))
			clean(t, db)
			if diff := cmp.Diff(before, show()); diff != "" {
				t.Errorf("%s (-before +after):\n%s", text, diff)
			}
		}
	})
}

// TestPeers06EveryRowIsUndone: elsewhere of an INSERT of many rows only the first
// is undone, the undo of INSERT IGNORE deletes a row that was there before, and an
// upsert that both inserts and updates is not undone. TestForms has the forms one
// by one; here they meet in one transaction, over the same rows.
func TestPeers06EveryRowIsUndone(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		bus := embedded(t)
		db := open(t, s, s.dsn(t))
		before := things(t, db)
		ignore, upsert := "INSERT INTO thing (id, n) VALUES %s ON CONFLICT DO NOTHING", "INSERT INTO thing (id, n) VALUES %s ON CONFLICT (id) DO UPDATE SET n = excluded.n"
		if s.driver == "gtx-mysql" {
			ignore, upsert = "INSERT IGNORE INTO thing (id, n) VALUES %s", "INSERT INTO thing (id, n) VALUES %s ON DUPLICATE KEY UPDATE n = VALUES(n)"
		}
		work := execs(db,
			"INSERT INTO thing (id, n, s) VALUES (4, 40, 'a'), (5, 50, 'b'), (6, 60, 'c'), (7, 70, 'd')",
			fmt.Sprintf(ignore, "(1, -1), (8, 80), (2, -2), (9, 90)"),
			fmt.Sprintf(upsert, "(2, 21), (10, 100), (4, 41), (3, 31)"),
			"DELETE FROM thing WHERE id IN (1, 5, 8)",
			fmt.Sprintf(ignore, "(1, 11), (2, -2), (5, 51)"),
			fmt.Sprintf(upsert, "(1, 12), (8, 81)"),
		)
		aborted(t, bus, work)
		clean(t, db)
		wantTable(t, db, before)
		committed(t, bus, work)
		clean(t, db)
		wantTable(t, db, []string{
			`1 12 "" false`, `2 21 "" false`, `3 31 "" true`, `4 41 "a" true`, `5 51 "" false`, `6 60 "c" true`,
			`7 70 "d" true`, `8 81 "" false`, `9 90 "" false`, `10 100 "" false`,
		})
	})
}

// TestPeers07NamesAreTheServers: elsewhere a column in another letter case, a
// quoted or reserved name, schema.table or an alias is refused or, worse, skipped
// in silence. Here a name means what it means to the server.
func TestPeers07NamesAreTheServers(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		bus := embedded(t)
		db := open(t, s, s.dsn(t))
		q, schema := `"`, map[string]string{"gtx-sqlite": "SELECT 'main'", "gtx-mysql": "SELECT DATABASE()", "gtx-postgres": "SELECT current_schema()"}[s.family()]
		if s.driver == "gtx-mysql" {
			q = "`"
		}
		if err := db.QueryRow(schema).Scan(&schema); err != nil {
			t.Fatal(err)
		}
		order := q + "order" + q
		mustExec(t, db, strings.ReplaceAll("CREATE TABLE 'order' (Id int PRIMARY KEY, 'group' int NOT NULL, 'Mixed' int NOT NULL, plain int NOT NULL)", "'", q))
		mustExec(t, db, "INSERT INTO "+order+" VALUES (1, 10, 100, 1000), (2, 20, 200, 2000)")
		sum := func() (n int) {
			t.Helper()
			if err := db.QueryRow(strings.ReplaceAll("SELECT SUM('group' + 'Mixed' + PLAIN + id * 7) FROM 'order'", "'", q)).Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		before := sum()
		for _, text := range []string{
			"UPDATE 'order' SET PLAIN = PLAIN + 1 WHERE ID = 1",
			"UPDATE 'order' SET 'group' = 'group' + 1, 'Mixed' = 0 WHERE iD = 2",
			"UPDATE 'order' AS o SET plain = o.Plain + 1 WHERE o.ID = 1",
			"UPDATE SCHEMA.'order' SET plain = 5",
			"UPDATE 'SCHEMA'.'order' SET 'group' = 5 WHERE 'order'.id = 1",
			"DELETE FROM SCHEMA.'order' WHERE 'group' = 10",
			"INSERT INTO SCHEMA.'order' (PLAIN, iD, 'Mixed', 'group') VALUES (1, 3, 2, 4)",
			"/* c */ update/**/'order'/**/set/**/plain=plain+1/**/where/**/id=1",
		} {
			text = strings.ReplaceAll(strings.ReplaceAll(text, "'", q), "SCHEMA", schema)
			changed := false
			aborted(t, bus, func(ctx context.Context) error {
				if err := execs(db, text)(ctx); err != nil {
					return err
				}
				changed = sum() != before
				return nil
			})
			clean(t, db)
			if got := sum(); got != before || !changed {
				t.Errorf("%s: changed %v, sum after the abort %d, before %d", text, changed, got, before)
			}
		}
		// Not found is refused, not skipped.
		err := bus.Run(t.Context(), execs(db, "UPDATE nowhere SET n = 1"))
		if err == nil {
			t.Error("a table that is not there is no error")
		}
	})
}
