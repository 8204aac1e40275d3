package grammar

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	_ "modernc.org/sqlite" // the driver sqlite

	"github.com/globaltx/globaltx/internal/testserver"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

func TestMain(m *testing.M) { testserver.Main(m) }

// accepts tells why a server does not read a text, "" when it does.
type accepts func(text string) string

func TestServersAccept(t *testing.T) {
	const texts, enough = 3000, 0.99
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			check := v.open(t, v)
			g := v.generator(0x5eed)
			tried, rejected := 0, 0
			shortest := map[string]string{} // by the beginning of the message
			for tried < texts {
				s := g.Next()
				if s.Want.Kind == sqltext.Several {
					continue // no server prepares these
				}
				tried++
				if why := check(s.Text); why != "" {
					rejected++
					shorter(shortest, why[:min(len(why), 170)], s.Text)
				}
			}
			t.Logf("%d of %d accepted", tried-rejected, tried)
			report(t, nil, shortest)
			if float64(tried-rejected) < enough*float64(tried) {
				t.Errorf("%d of %d texts rejected", rejected, tried)
			}
		})
	}
}

// variant is a server in a mode.
type variant struct {
	name    string
	dialect sqltext.Dialect
	mode    sqltext.Mode
	version int // of Postgres
	setup   string
	open    func(*testing.T, variant) accepts
}

func (v variant) generator(seed uint64) *Generator {
	g := New(v.dialect, v.mode, seed)
	if v.version != 0 {
		g.Version(v.version)
	}
	return g
}

const sqlMode = "set session sql_mode = "

var variants = []variant{
	{name: "mysql", dialect: sqltext.MySQL, setup: sqlMode + "''", open: openMySQL},
	{
		name: "mysql-ansi", dialect: sqltext.MySQL, mode: sqltext.Mode{ANSIQuotes: true, NoBackslashEscapes: true},
		setup: sqlMode + "'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'", open: openMySQL,
	},
	{name: "mariadb", dialect: sqltext.MariaDB, setup: sqlMode + "''", open: openMySQL},
	{
		name: "mariadb-ansi", dialect: sqltext.MariaDB, mode: sqltext.Mode{ANSIQuotes: true, NoBackslashEscapes: true},
		setup: sqlMode + "'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'", open: openMySQL,
	},
	{name: "postgres15", dialect: sqltext.Postgres, version: 15, setup: "set standard_conforming_strings = on", open: openPostgres},
	{name: "postgres18", dialect: sqltext.Postgres, version: 18, setup: "set standard_conforming_strings = on", open: openPostgres},
	{
		name: "postgres15-backslash", dialect: sqltext.Postgres, version: 15, mode: sqltext.Mode{BackslashStrings: true},
		setup: "set standard_conforming_strings = off", open: openPostgres,
	},
	{name: "sqlite", dialect: sqltext.SQLite, open: openSQLite},
}

func openMySQL(t *testing.T, v variant) accepts {
	dsn := testserver.MySQL
	if v.dialect == sqltext.MariaDB {
		dsn = testserver.MariaDB
	}
	ctx := context.Background()
	db, err := sql.Open("mysql", dsn(t))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); db.Close() })
	for _, q := range append(Schema(v.dialect), v.setup) {
		if _, err := conn.ExecContext(ctx, q); err != nil {
			t.Fatal(err)
		}
	}
	return func(text string) string {
		stmt, err := conn.PrepareContext(ctx, text)
		var e *mysql.MySQLError
		switch {
		case err == nil:
			return closed(stmt)
		case !errors.As(err, &e):
			return "no answer: " + err.Error()
		case e.Number == 1064:
			return e.Message
		}
		return ""
	}
}

func closed(stmt *sql.Stmt) string {
	if err := stmt.Close(); err != nil {
		return "close: " + err.Error()
	}
	return ""
}

// parserFile are the sources of the server's parser.
var parserFile = map[string]bool{"scan.l": true, "gram.y": true, "parser.c": true, "scan.c": true, "gram.c": true}

func openPostgres(t *testing.T, v variant) accepts {
	dsn := testserver.Postgres15
	if v.version == 18 {
		dsn = testserver.Postgres18
	}
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, dsn(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(ctx) })
	for _, q := range append(Schema(v.dialect), v.setup) {
		if _, err := conn.Exec(ctx, q); err != nil {
			t.Fatal(err)
		}
	}
	return func(text string) string {
		_, err := conn.PgConn().Prepare(ctx, "", text, nil)
		var e *pgconn.PgError
		switch {
		case err == nil:
			return ""
		case !errors.As(err, &e):
			return "no answer: " + err.Error()
		case e.Code == "42601" && parserFile[e.File]: // behind the parser it means, say, columns miscounted
			return e.Message + " (" + e.Routine + ")"
		}
		return ""
	}
}

func openSQLite(t *testing.T, v variant) accepts {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1)
	for _, q := range Schema(v.dialect) {
		if _, err := db.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	return func(text string) string {
		// EXPLAIN compiles and does not run; what is one already does not run either.
		stmt := "EXPLAIN " + text
		if st := strings.ToUpper(text); strings.Contains(st, "EXPLAIN") {
			stmt = text
		}
		rows, err := db.Query(stmt)
		if err == nil {
			err = errors.Join(rows.Close(), rows.Err())
		}
		if err == nil {
			return ""
		}
		for _, syntax := range []string{"syntax error", "unrecognized token", "incomplete input"} {
			if strings.Contains(err.Error(), syntax) {
				return err.Error()
			}
		}
		return ""
	}
}
