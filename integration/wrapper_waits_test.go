package integration

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/google/go-cmp/cmp"

	"github.com/globaltx/globaltx/gtx"
)

// kinds tells which of the errors that programs ask for err is.
func kinds(err error) map[string]any {
	fields := errorFields(err)
	delete(fields, "text")
	delete(fields, "Where")             // of a tuple: captured rows may be locked before they are updated
	delete(fields, "Detail")            // of a deadlock: who waited for whom
	delete(fields, "ErrorWithDetail()") // has both in it
	for name, target := range map[string]error{
		"Canceled": context.Canceled, "DeadlineExceeded": context.DeadlineExceeded,
		"ErrBadConn": sqldriver.ErrBadConn, "ErrInvalidConn": mysql.ErrInvalidConn, "ErrTxDone": sql.ErrTxDone,
	} {
		fields["is "+name] = errors.Is(err, target)
	}
	if t := fields["type"]; t != "mysql" && t != "pq" && t != "pgx" && t != "sqlite" {
		delete(fields, "type") // whatever wraps a sentinel
	}
	return fields
}

// TestErrorsOfWaiting: what ends a wait, a statement or a connection is told as the base
// driver tells it; where running again helps it is gtx.ErrConflict besides.
func TestErrorsOfWaiting(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		bus := embedded(t)
		dsn := s.dsn(t)
		if s.driver == "gtx-sqlite" {
			dsn = strings.ReplaceAll(dsn, "busy_timeout(10000)", "busy_timeout(20)")
		}
		db, bare := open(t, s, withParam(dsn, "gtx_lock_wait=100ms")), outsider(t, s, dsn)
		holder := outsider(t, s, dsn)
		mustExec(t, db, "CREATE TABLE thing (id bigint PRIMARY KEY, n bigint NOT NULL)")
		mustExec(t, db, "INSERT INTO thing VALUES (1, 0), (2, 0), (3, 0)")
		if err := gtx.Run(t.Context(), func(ctx context.Context) error { // makes the tables
			_, err := db.ExecContext(ctx, "UPDATE thing SET n = 0 WHERE id = 3")
			return err
		}, gtx.WithCoordinator(bus)); err != nil {
			t.Fatal(err)
		}
		clean(t, db)
		for _, c := range []struct {
			name     string
			conflict bool
			servers  string
			do       func(t *testing.T, ctx context.Context, who *sql.DB) error
		}{
			{"lock timeout", true, "sqlite mysql mariadb postgres15 postgres18", func(t *testing.T, ctx context.Context, who *sql.DB) error {
				return besideHolder(t, ctx, s, who, holder, func(tx *sql.Tx) error {
					_, err := tx.ExecContext(ctx, "UPDATE thing SET n = n + 1 WHERE id = 1")
					return err
				})
			}},
			{"cancelled", false, "mysql mariadb postgres15 postgres18", func(t *testing.T, ctx context.Context, who *sql.DB) error {
				return besideHolder(t, ctx, s, who, holder, func(tx *sql.Tx) error {
					ctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
					defer cancel()
					_, err := tx.ExecContext(ctx, "UPDATE thing SET n = n + 1 WHERE id = 1")
					return err
				})
			}},
			{"deadlock", true, "mysql mariadb postgres15 postgres18", func(t *testing.T, ctx context.Context, who *sql.DB) error {
				return besideHolder(t, ctx, s, who, holder, func(tx *sql.Tx) error { return nil }, "deadlock")
			}},
			{"connection lost", false, "mysql mariadb postgres15 postgres18", func(t *testing.T, ctx context.Context, who *sql.DB) error {
				return lost(t, ctx, s, who, holder)
			}},
		} {
			if !strings.Contains(c.servers, s.name) {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				want := c.do(t, context.Background(), bare)
				if want == nil {
					t.Fatal("the bare driver gives no error")
				}
				var got error
				err := gtx.Run(t.Context(), func(ctx context.Context) error {
					got = c.do(t, ctx, db)
					return got
				}, gtx.WithCoordinator(bus), gtx.WithRetries(0))
				for what, told := range map[string]error{"the statement": got, "Run": err} {
					bareKinds, ours := kinds(want), kinds(told)
					if c.name == "connection lost" {
						// lib/pq says ErrBadConn where its write fails already, and what
						// the network said where the read does: a matter of time.
						delete(bareKinds, "is ErrBadConn")
						delete(ours, "is ErrBadConn")
					}
					if diff := cmp.Diff(bareKinds, ours); diff != "" {
						t.Errorf("error of %s (-bare +ours):\n%s%v\n%v", what, diff, want, told)
					}
					if errors.Is(told, gtx.ErrConflict) != c.conflict {
						t.Errorf("error of %s is gtx.ErrConflict: %t: %v", what, !c.conflict, told)
					}
				}
				clean(t, db)
				var n int64
				if err := db.QueryRow("SELECT sum(n) FROM thing").Scan(&n); err != nil || n != 0 {
					t.Errorf("sum(n) = %d, %v, want 0", n, err)
				}
			})
		}
	})
}

// besideHolder runs do in a local transaction that has changed row 2, while holder has
// changed row 1; waits for locks are short. With "deadlock" holder wants row 2 as well
// when the local transaction wants row 1. Everything is rolled back.
func besideHolder(t *testing.T, ctx context.Context, s server, who, holder *sql.DB, do func(tx *sql.Tx) error, how ...string) error {
	t.Helper()
	deadlock := len(how) > 0
	c, err := who.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	held, err := holder.Conn(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	short, long := "", ""
	switch s.family() {
	case "gtx-mysql":
		short, long = "SET SESSION innodb_lock_wait_timeout = 1", "SET SESSION innodb_lock_wait_timeout = 50"
	case "gtx-postgres":
		short, long = "SET lock_timeout = 50", "SET lock_timeout = 0"
		if deadlock { // the other one is not the victim
			short, long = "SET deadlock_timeout = 10", "SET deadlock_timeout = 60000"
		}
	}
	for _, set := range []struct {
		c    *sql.Conn
		text string
	}{{c, short}, {held, long}} {
		if _, err := set.c.ExecContext(gtx.Detach(ctx), set.text); err != nil && set.text != "" {
			t.Fatal(err)
		}
	}
	other, err := held.BeginTx(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Rollback()
	heavy := "UPDATE thing SET n = n + 1 WHERE id = 1"
	if _, err := other.Exec(heavy); err != nil {
		t.Fatal(err)
	}
	tx, err := c.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, "UPDATE thing SET n = n + 1 WHERE id = 2"); err != nil {
		return err
	}
	if !deadlock {
		return do(tx)
	}
	if s.driver == "gtx-mysql" { // who has changed more survives
		for i := range 300 {
			if _, err := other.Exec("INSERT INTO thing VALUES (" + fmt.Sprint(1000+i) + ", 0)"); err != nil {
				t.Fatal(err)
			}
		}
	}
	done := make(chan error, 1)
	go func() {
		_, err := other.Exec("UPDATE thing SET n = n + 1 WHERE id = 2")
		done <- err
	}()
	_, err = tx.ExecContext(ctx, "UPDATE thing SET n = n + 1 WHERE id = 1")
	if rerr := tx.Rollback(); rerr != nil && !errors.Is(rerr, sql.ErrTxDone) {
		t.Errorf("roll back the victim: %v", rerr)
	}
	if oerr := <-done; oerr != nil {
		t.Errorf("the survivor: %v", oerr)
	}
	return err
}

// lost has the server end the connection of a local transaction that has written,
// and gives the error of the next statement.
func lost(t *testing.T, ctx context.Context, s server, who, killer *sql.DB) error {
	t.Helper()
	tx, err := who.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, "UPDATE thing SET n = n + 1 WHERE id = 2"); err != nil {
		return err
	}
	me := map[string]string{"gtx-mysql": "SELECT CONNECTION_ID()"}[s.family()]
	kill, alive := "KILL %d", "SELECT count(*) FROM information_schema.processlist WHERE id = %d"
	if me == "" {
		me, kill, alive = "SELECT pg_backend_pid()", "SELECT pg_terminate_backend(%d)", "SELECT count(*) FROM pg_stat_activity WHERE pid = %d"
	}
	var id int64
	if err := tx.QueryRowContext(ctx, me).Scan(&id); err != nil {
		t.Fatal(err)
	}
	mustExec(t, killer, fmt.Sprintf(kill, id))
	eventually(t, "the connection is gone", func() bool {
		var n int
		if err := killer.QueryRow(fmt.Sprintf(alive, id)).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n == 0
	})
	_, err = tx.ExecContext(ctx, "UPDATE thing SET n = n + 1 WHERE id = 1")
	return err
}
