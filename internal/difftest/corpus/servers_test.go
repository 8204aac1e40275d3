package corpus

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/lib/pq"
	_ "modernc.org/sqlite"

	"github.com/globaltx/globaltx/internal/testserver"
)

// TestServersAccept holds the corpus against the servers that it names: each
// text but the refused ones must be no syntax error to any of them. The
// databases are empty, so that most texts are still an error of meaning.
func TestServersAccept(t *testing.T) {
	for _, s := range []struct {
		name   string
		header []string // the names in headers that mean this server
		driver string
		dsn    func(testing.TB) string
		syntax func(error) bool
	}{
		{"mysql", []string{"mysql"}, "mysql", testserver.MySQL, mysqlSyntax},
		{"mariadb", []string{"mariadb"}, "mysql", testserver.MariaDB, mysqlSyntax},
		{"postgres15", []string{"postgres"}, "postgres", testserver.Postgres15, postgresSyntax},
		{"postgres18", []string{"postgres", ServerPostgres18}, "postgres", testserver.Postgres18, postgresSyntax},
		{"sqlite", []string{"sqlite"}, "sqlite", func(testing.TB) string { return ":memory:" }, sqliteSyntax},
	} {
		t.Run(s.name, func(t *testing.T) {
			conn := connect(t, s.driver, s.dsn(t))
			if err := prepare(conn, "UPDATE WHERE"); err == nil || !s.syntax(err) {
				t.Fatalf("prepare a text that is wrong: got %v, want a syntax error", err)
			}
			n := 0
			for _, e := range All() {
				named := func(server string) bool { return slices.Contains(s.header, server) }
				if e.Label.Kind == Refused || !slices.ContainsFunc(e.Servers, named) {
					continue
				}
				n++
				for _, text := range statements(e) {
					if err := prepare(conn, text); err != nil && s.syntax(err) {
						t.Errorf("%s: %v\n%s", e.Where, err, text)
					}
				}
			}
			t.Logf("%d texts", n)
		})
	}
}

func connect(t *testing.T, driver, dsn string) *sql.Conn {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatalf("open %s: %v", driver, err)
	}
	t.Cleanup(func() { _ = db.Close() })
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatalf("connect to %s: %v", driver, err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// statements cuts a text with several at the semicolons, which stand in no
// string there, and drops empty ones.
func statements(e Example) []string {
	if e.Label.Kind != "several" && !strings.HasSuffix(e.Text, ";;") {
		return []string{e.Text}
	}
	return slices.DeleteFunc(strings.Split(e.Text, ";"), func(s string) bool { return strings.TrimSpace(s) == "" })
}

func prepare(conn *sql.Conn, text string) error {
	stmt, err := conn.PrepareContext(context.Background(), text)
	if err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	return stmt.Close()
}

// mysqlSyntax: 1064 is ER_PARSE_ERROR, 1065 an empty query, 1149 a syntax error
// found late; 1295 is said of statements that cannot be prepared, after parsing.
func mysqlSyntax(err error) bool {
	var e *mysql.MySQLError
	return !errors.As(err, &e) || e.Number == 1064 || e.Number == 1065 || e.Number == 1149
}

// postgresSyntax: 42601 is syntax_error, which Postgres also gives for lists of
// different length; anything without a code comes from the connection.
func postgresSyntax(err error) bool {
	var e *pq.Error
	return !errors.As(err, &e) || e.Code == "42601"
}

func sqliteSyntax(err error) bool {
	for _, s := range []string{"syntax error", "unrecognized token", "incomplete input"} {
		if strings.Contains(err.Error(), s) {
			return true
		}
	}
	return !strings.Contains(err.Error(), "SQL logic error")
}
