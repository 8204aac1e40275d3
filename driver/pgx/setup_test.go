package pgx

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/internal/testserver"
	"github.com/globaltx/globaltx/natsbus"
)

func TestMain(m *testing.M) { testserver.Main(m) }

// setup gives a fresh database, a coordinator, and the database without us.
func setup(t *testing.T, ddl ...string) (dsn string, bare *sql.DB) {
	t.Helper()
	bus, err := natsbus.Embedded(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	gtx.SetDefault(bus)
	t.Cleanup(func() {
		gtx.SetDefault(nil)
		if err := bus.Close(); err != nil {
			t.Error(err)
		}
	})
	dsn = testserver.Postgres18(t)
	bare = open(t, "pgx", dsn)
	for _, text := range ddl {
		if _, err := bare.Exec(text); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	return dsn, bare
}

// open opens a database of one connection, so that what belongs to one is seen again.
func open(t *testing.T, name, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(name, dsn)
	if err != nil {
		t.Fatal(err)
	}
	return one(t, db)
}

func one(t *testing.T, db *sql.DB) *sql.DB {
	db.SetMaxOpenConns(1)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

var errUndo = errors.New("undo")

// inside runs fn in a local transaction of a global one, which ends with fate.
func inside(t *testing.T, db *sql.DB, fate error, fn func(ctx context.Context, tx *sql.Tx) error) error {
	t.Helper()
	err := gtx.Run(t.Context(), func(ctx context.Context) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if err := fn(ctx, tx); err != nil {
			return err
		}
		if err := tx.Commit(); err != nil {
			return err
		}
		return fate
	})
	if fate != nil && errors.Is(err, fate) {
		return nil
	}
	return err
}

// clean waits until phase two has left nothing.
func clean(t *testing.T, bare *sql.DB) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); ; <-tick.C {
		var n int
		err := bare.QueryRow("SELECT (SELECT count(*) FROM gtx_undo) + (SELECT count(*) FROM gtx_branch)").Scan(&n)
		if err == nil && n == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d rows are left: %v", n, err)
		}
	}
}

func contains(text, part string) bool { return strings.Contains(text, part) }
