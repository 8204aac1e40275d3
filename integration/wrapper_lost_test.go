package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/internal/testserver"
)

// cutAll has the server end every connection to the database but the killer's, and
// waits until they are gone.
func cutAll(t *testing.T, s server, killer *sql.DB) {
	t.Helper()
	list, kill := "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()", "KILL %d"
	if s.family() == "gtx-postgres" {
		list, kill = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()", "SELECT pg_terminate_backend(%d)"
	}
	look := func() (ids []int64) {
		t.Helper()
		rows, err := killer.Query(list)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var id int64
			if err := rows.Scan(&id); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		return ids
	}
	old := map[int64]bool{}
	for _, id := range look() {
		old[id] = true
		_, _ = killer.Exec(fmt.Sprintf(kill, id)) // it may have gone by itself
	}
	eventually(t, "the connections are gone", func() bool {
		for _, id := range look() {
			if old[id] {
				return false
			}
		}
		return true
	})
}

// TestConnectionsEndBetween: connections that the pool gives up, or that the server has
// ended, between two local transactions lose and double nothing; where the base driver
// finds out in time they are replaced unseen.
func TestConnectionsEndBetween(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		bus := embedded(t)
		dsn := s.dsn(t)
		db := open(t, s, dsn)
		mustExec(t, db, "CREATE TABLE thing (id bigint PRIMARY KEY, n bigint NOT NULL, s varchar(100))")
		mustExec(t, db, "INSERT INTO thing VALUES (1, 0, ''), (2, 0, ''), (3, 0, '')")
		change := "UPDATE thing SET n = n + " + s.holder(1) + " WHERE id = " + s.holder(2)
		want := int64(0)
		check := func(what string) {
			t.Helper()
			clean(t, db)
			var n int64
			if err := db.QueryRow("SELECT sum(n) FROM thing").Scan(&n); err != nil || n != want {
				t.Fatalf("%s: sum(n) = %d, %v, want %d", what, n, err, want)
			}
		}
		if s.driver != "gtx-sqlite" {
			killer := outsider(t, s, dsn)
			killer.SetMaxOpenConns(1)
			for _, e := range []entry{entries()[0], entries()[3], entries()[4], entries()[8]} {
				err := gtx.Run(t.Context(), func(ctx context.Context) error {
					if err := e.exec(ctx, db, change, 1, 1); err != nil {
						return err
					}
					cutAll(t, s, killer)
					return e.exec(ctx, db, change, 1, 2)
				}, gtx.WithCoordinator(bus), gtx.WithRetries(0))
				// lib/pq and pgx do not look at the socket first: what they find there they
				// tell, as without us.
				if err != nil && (s.family() != "gtx-postgres" || errors.Is(err, gtx.ErrUnknown)) {
					t.Errorf("%s: %v", e.name, err)
				}
				if err == nil {
					want += 2
				}
				check(e.name)
			}
		}
		for _, set := range []func(time.Duration){db.SetConnMaxLifetime, db.SetConnMaxIdleTime} {
			set(time.Millisecond)
			var wg sync.WaitGroup
			errs := make(chan error, 32)
			for i := range 4 {
				wg.Go(func() {
					for range 4 {
						errs <- gtx.Run(t.Context(), inTxTwice(db, change, i%3+1), gtx.WithCoordinator(bus))
					}
				})
			}
			wg.Wait()
			close(errs)
			for err := range errs {
				if err != nil {
					t.Error(err)
				} else {
					want += 2
				}
			}
			set(0)
			check("connections that expire")
		}
	})
}

func inTxTwice(db *sql.DB, change string, id int) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		for range 2 {
			if _, err := tx.ExecContext(ctx, change, 1, id); err != nil {
				return errors.Join(err, tx.Rollback())
			}
		}
		return tx.Commit()
	}
}

// TestServerRestartsWithin: one of two servers dies within a Run, in a local transaction
// or after one that has committed. Run says aborted, nothing stays of either half, and
// the next Run works with the same pools.
func TestServerRestartsWithin(t *testing.T) {
	for _, s := range servers() {
		name := map[string]string{
			"mariadb": testserver.NameMariaDB, "postgres15": testserver.NamePostgres15, "postgres18": testserver.NamePostgres18,
		}[s.name]
		if name == "" {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			bus := embedded(t)
			dying := testserver.Private(t, name)
			a, b := open(t, s, s.dsn(t)), open(t, s, dying.DSN())
			for _, db := range []*sql.DB{a, b} {
				mustExec(t, db, "CREATE TABLE thing (id bigint PRIMARY KEY, n bigint NOT NULL)")
				mustExec(t, db, "INSERT INTO thing VALUES (1, 100)")
			}
			const change = "UPDATE thing SET n = n + 1 WHERE id = 1"
			want := int64(100)
			run := func(within, after func()) error {
				return gtx.Run(t.Context(), func(ctx context.Context) error {
					if _, err := a.ExecContext(ctx, change); err != nil {
						return err
					}
					tx, err := b.BeginTx(ctx, nil)
					if err != nil {
						return err
					}
					defer tx.Rollback()
					if _, err := tx.ExecContext(ctx, change); err != nil {
						return err
					}
					within()
					if err := tx.Commit(); err != nil {
						return err
					}
					after()
					_, err = b.ExecContext(ctx, change)
					return err
				}, gtx.WithCoordinator(bus), gtx.WithRetries(0))
			}
			check := func(what string, err error, fails bool) {
				t.Helper()
				if fails != (err != nil) || errors.Is(err, gtx.ErrUnknown) {
					t.Errorf("%s: Run says %v", what, err)
				}
				for i, db := range []*sql.DB{a, b} {
					clean(t, db)
					want := want
					if i == 1 {
						want = 2*want - 100 // two changes each
					}
					var n int64
					if err := db.QueryRow("SELECT n FROM thing").Scan(&n); err != nil || n != want {
						t.Errorf("%s: n = %d, %v, want %d", what, n, err, want)
					}
				}
			}
			nothing := func() {}
			restart := func() { dying.Kill(); dying.Start() }
			want++
			check("all is well", run(nothing, nothing), false)
			check("restart within the local transaction", run(restart, nothing), true)
			want++
			check("afterwards", run(nothing, nothing), false)
			// What was committed locally is there after the restart: the transaction goes on.
			want++
			check("restart between two local transactions", run(nothing, restart), false)
			err := run(nothing, dying.Kill)
			dying.Start()
			check("killed after a local transaction", err, true)
		})
	}
}
