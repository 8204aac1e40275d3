package actions

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"

	"github.com/globaltx/globaltx/internal/testserver/testdb"
	"github.com/globaltx/globaltx/natsbus"
)

// server is a kind of database that the tests run on.
type server struct {
	name   string
	driver string
	dsn    func(t testing.TB) string // a fresh database
}

// servers are those of testdb.
func servers() (all []server) {
	for _, s := range testdb.Servers() {
		all = append(all, server{s.Name, s.Driver, s.DSN})
	}
	return all
}

func (s server) public() testdb.Server {
	return testdb.Server{Name: s.name, Driver: s.driver, DSN: s.dsn}
}

// family is the driver, and gtx-postgres for gtx-pgx too: what tells SQL apart.
func (s server) family() string { return s.public().Family() }

var steady = testdb.Steady

func embedded(t testing.TB) *natsbus.Bus {
	t.Helper()
	return testdb.Embedded(t)
}

// open opens a database and checks at the end that nothing was left in it.
func open(t testing.TB, s server, dsn string) *sql.DB {
	t.Helper()
	return testdb.Open(t, s.public(), dsn)
}

func mustExec(t testing.TB, db *sql.DB, text string, args ...any) {
	t.Helper()
	testdb.MustExec(t, db, text, args...)
}

func sqliteDSN(t testing.TB) string { return testdb.SQLiteDSN(t) }

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	testdb.Eventually(t, what, ok)
}

// item is what some tests write to: three rows, n = 100.
func itemTable(t testing.TB, db *sql.DB) {
	t.Helper()
	mustExec(t, db, "CREATE TABLE item (id bigint PRIMARY KEY, n bigint NOT NULL)")
	mustExec(t, db, "INSERT INTO item (id, n) VALUES (1, 100), (2, 100), (3, 100)")
}

var errNo = errors.New("the function says no")

func update(id, by int) string {
	return fmt.Sprintf("UPDATE item SET n = n + %d WHERE id = %d", by, id)
}

// value reads one row with a context that carries no transaction.
func value(t testing.TB, db *sql.DB, id int) int {
	t.Helper()
	var out int
	if err := db.QueryRowContext(context.Background(), fmt.Sprintf("SELECT n FROM item WHERE id = %d", id)).Scan(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

// locally runs fn in a local transaction.
func locally(ctx context.Context, db *sql.DB, fn func(tx *sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := fn(tx); err != nil {
		return err
	}
	return tx.Commit()
}
