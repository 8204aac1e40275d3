package integration

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/globaltx/globaltx/driver"
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/natsbus"
)

// breaker is a base driver whose connections can be made to break around a text.
type breaker struct {
	before, after atomic.Pointer[string] // a part of the text
}

type brokenConnector struct {
	sqldriver.Connector
	b *breaker
}

func (c brokenConnector) Connect(ctx context.Context) (sqldriver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &brokenConn{conn, c.b}, nil
}

// brokenConn passes on what both base drivers have.
type brokenConn struct {
	sqldriver.Conn
	b *breaker
}

func (c *brokenConn) ExecContext(ctx context.Context, text string, args []sqldriver.NamedValue) (sqldriver.Result, error) {
	if p := c.b.before.Load(); p != nil && strings.Contains(text, *p) {
		c.b.before.Store(nil)
		_ = c.Conn.Close()
		return nil, sqldriver.ErrBadConn
	}
	res, err := c.Conn.(sqldriver.ExecerContext).ExecContext(ctx, text, args)
	if p := c.b.after.Load(); p != nil && strings.Contains(text, *p) && err == nil {
		c.b.after.Store(nil)
		_ = c.Conn.Close()
		return nil, errors.New("the answer is lost")
	}
	return res, err
}

func (c *brokenConn) QueryContext(ctx context.Context, text string, args []sqldriver.NamedValue) (sqldriver.Rows, error) {
	return c.Conn.(sqldriver.QueryerContext).QueryContext(ctx, text, args)
}

func (c *brokenConn) BeginTx(ctx context.Context, opts sqldriver.TxOptions) (sqldriver.Tx, error) {
	return c.Conn.(sqldriver.ConnBeginTx).BeginTx(ctx, opts)
}

func (c *brokenConn) CheckNamedValue(nv *sqldriver.NamedValue) error {
	if ch, ok := c.Conn.(sqldriver.NamedValueChecker); ok {
		return ch.CheckNamedValue(nv)
	}
	return sqldriver.ErrSkip
}

func (c *brokenConn) ResetSession(ctx context.Context) error {
	return c.Conn.(sqldriver.SessionResetter).ResetSession(ctx)
}

func (c *brokenConn) IsValid() bool {
	v, ok := c.Conn.(sqldriver.Validator)
	return !ok || v.IsValid()
}

// openBroken opens a database through b.
func openBroken(t testing.TB, s server, dsn string, b *breaker) *sql.DB {
	t.Helper()
	d := driver.New(func(dsn string) (driver.Base, error) {
		base, err := openers[s.driver](dsn)
		if err != nil {
			return base, err
		}
		if base.Resolver == nil {
			base.Resolver = base.Connector
		}
		base.Connector, base.Resolver = brokenConnector{base.Connector, b}, brokenConnector{base.Resolver, b}
		return base, nil
	})
	c, err := d.(sqldriver.DriverContext).OpenConnector(dsn)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(c)
	t.Cleanup(func() { db.Close() })
	return db
}

// TestXALostAnswers breaks the connection around PREPARE and around the end of a branch,
// in a transaction of two databases: whatever Run says holds in both.
func TestXALostAnswers(t *testing.T) {
	for _, s := range preparing() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			bus := embedded(t)
			dsn := s.dsn(t)
			db, other := open(t, s, dsn), open(t, s, s.dsn(t))
			itemTable(t, db)
			itemTable(t, other)
			b := &breaker{}
			broken := openBroken(t, s, dsn, b)
			prepare, end := "PREPARE TRANSACTION", "COMMIT"
			if s.family() == "gtx-mysql" {
				prepare, end = "XA PREPARE", "XA COMMIT"
			}
			want := 100
			for _, c := range []struct {
				name      string
				set       func()
				committed bool // nil is due; else an error
			}{
				{"nothing", func() {}, true},
				{"before PREPARE", func() { b.before.Store(&prepare) }, false},
				{"after PREPARE", func() { b.after.Store(&prepare) }, true},
				{"before the end", func() { b.before.Store(&end) }, true},
				{"after the end", func() { b.after.Store(&end) }, true},
			} {
				err := gtx.Run(t.Context(), func(ctx context.Context) error {
					if _, err := other.ExecContext(ctx, update(1, 1)); err != nil {
						return err
					}
					return locally(ctx, broken, func(tx *sql.Tx) error {
						_, err := tx.ExecContext(ctx, update(1, 1))
						c.set()
						return err
					})
				}, append(isolated(bus), gtx.WithRetries(0))...)
				b.before.Store(nil)
				b.after.Store(nil)
				if errors.Is(err, gtx.ErrUnknown) || (err == nil) != c.committed {
					t.Errorf("%s: %v", c.name, err)
				}
				if err == nil {
					want++
				}
				for _, one := range []*sql.DB{db, other} {
					await(t, one, want, c.name)
					clean(t, one)
				}
			}
		})
	}
}

// await returns when row 1 has the value. Connections of the pool may be dead.
func await(t testing.TB, db *sql.DB, want int, what string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		var got int
		err := db.QueryRowContext(context.Background(), "SELECT n FROM item WHERE id = 1").Scan(&got)
		if err == nil && got == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: got %d (%v), want %d", what, got, err, want)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestXAKilledSessions kills every session of the database between PREPARE and the
// decision.
func TestXAKilledSessions(t *testing.T) {
	onEachXA(t, func(t *testing.T, s server, db *sql.DB, bus *natsbus.Bus) {
		admin := open(t, s, s.dsn(t))
		want := 100
		for i := range 6 {
			err := gtx.Run(t.Context(), func(ctx context.Context) error {
				if _, err := db.ExecContext(ctx, update(1, 1)); err != nil {
					return err
				}
				killSessions(t, s, db, admin)
				if i%2 == 1 {
					return errNo
				}
				return nil
			}, isolated(bus)...)
			switch {
			case i%2 == 1 && !errors.Is(err, errNo), i%2 == 0 && err != nil:
				t.Fatal(err)
			case err == nil:
				want++
			}
			await(t, db, want, fmt.Sprint("round ", i))
		}
	})
}

// killSessions ends all sessions of db, from another database.
func killSessions(t testing.TB, s server, db, admin *sql.DB) {
	t.Helper()
	ctx := context.Background()
	name, list := "SELECT DATABASE()", "SELECT id FROM information_schema.processlist WHERE db = ?"
	if s.family() == "gtx-postgres" {
		name, list = "SELECT current_database()", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1"
	}
	var database string
	if err := db.QueryRowContext(ctx, name).Scan(&database); err != nil {
		t.Fatal(err)
	}
	rows, err := admin.QueryContext(ctx, list, database)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if err := rows.Close(); err != nil {
		t.Fatal(err)
	}
	if s.family() == "gtx-postgres" {
		return
	}
	for _, id := range ids {
		_, _ = admin.ExecContext(ctx, "KILL "+id) // it may have gone
	}
}

// TestXAOtherProcess has two processes, as far as the coordinator can tell, at one
// database: decisions are pushed to one of them, the branches are the other's. Then one
// leaves with a branch that is not decided.
func TestXAOtherProcess(t *testing.T) {
	onEachXA(t, func(t *testing.T, s server, db *sql.DB, bus *natsbus.Bus) {
		dsn := s.dsn(t)
		one, two := open(t, s, dsn), open(t, s, dsn)
		itemTable(t, one)
		for range 10 {
			err := gtx.Run(t.Context(), func(ctx context.Context) error {
				for id, db := range map[int]*sql.DB{1: one, 2: two} {
					if _, err := db.ExecContext(ctx, update(id, 1)); err != nil {
						return err
					}
				}
				return nil
			}, isolated(bus)...)
			if err != nil {
				t.Fatal(err)
			}
		}
		if got := value(t, one, 1) + value(t, one, 2); got != 220 {
			t.Errorf("got %d, want 220", got)
		}
		leaves, err := sql.Open(s.driver, dsn)
		if err != nil {
			t.Fatal(err)
		}
		err = gtx.Run(t.Context(), func(ctx context.Context) error {
			if _, err := leaves.ExecContext(ctx, update(3, 1)); err != nil {
				return err
			}
			return leaves.Close()
		}, isolated(bus)...)
		if err != nil {
			t.Fatal(err)
		}
		clean(t, one)
		if got := value(t, one, 3); got != 101 {
			t.Errorf("got %d, want 101", got)
		}
	})
}

// TestXAIsolationLevels writes at every level, also where the session's own is higher, beside
// an undo row that the local transaction's snapshot does not show.
func TestXAIsolationLevels(t *testing.T) {
	onEachXA(t, func(t *testing.T, s server, db *sql.DB, bus *natsbus.Bus) {
		for _, level := range []sql.IsolationLevel{sql.LevelDefault, sql.LevelReadCommitted, sql.LevelRepeatableRead, sql.LevelSerializable} {
			before, tries := value(t, db, 1), 0
			release, held := make(chan struct{}), make(chan struct{})
			var all sync.WaitGroup
			err := gtx.Run(t.Context(), func(ctx context.Context) error {
				tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: level})
				if err != nil {
					return err
				}
				defer tx.Rollback()
				var count int
				if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM item WHERE id = 2").Scan(&count); err != nil {
					return err
				}
				if tries++; tries == 1 { // after the snapshot
					all.Go(func() {
						err := gtx.Run(context.Background(), func(ctx context.Context) error {
							if _, err := db.ExecContext(ctx, "DELETE FROM item WHERE id = 3"); err != nil {
								return err
							}
							close(held)
							<-release
							return errNo
						}, gtx.WithCoordinator(bus))
						if !errors.Is(err, errNo) {
							t.Error(err)
						}
					})
					<-held
				}
				if _, err := tx.ExecContext(ctx, update(1, 1)); err != nil {
					return err
				}
				if tries == 1 {
					defer close(release)
					if _, err := tx.ExecContext(ctx, "INSERT INTO item (id, n) VALUES (3, 3)"); err != nil {
						return err
					}
				}
				return tx.Commit()
			}, isolated(bus)...)
			all.Wait()
			if err != nil {
				t.Errorf("%s: %v", level, err)
			}
			clean(t, db)
			if got := value(t, db, 1); got != before+1 {
				t.Errorf("%s: got %d, want %d", level, got, before+1)
			}
			if got := value(t, db, 3); got != 100 {
				t.Errorf("%s: the deleted row came back as %d", level, got)
			}
		}
	})
}

// TestXAWithAT has both modes write the same rows all the time, some of them to abort: no
// undo row is ever passed, none is found dirty, and every transaction gets through.
func TestXAWithAT(t *testing.T) {
	onEachXA(t, func(t *testing.T, s server, db *sql.DB, bus *natsbus.Bus) {
		const workers, each = 4, 8
		var all sync.WaitGroup
		var committed atomic.Int64
		for w := range workers {
			all.Go(func() {
				opts := []gtx.Option{gtx.WithCoordinator(bus), gtx.WithTimeout(20 * time.Second), gtx.WithRetries(1000)}
				if w%2 == 0 {
					opts = append(opts, gtx.WithMode(gtx.XA))
				}
				for i := range each {
					err := gtx.Run(t.Context(), func(ctx context.Context) error {
						if _, err := db.ExecContext(ctx, update(1+i%3, 1)); err != nil {
							return err
						}
						if i%4 == 3 {
							return errNo
						}
						return nil
					}, opts...)
					switch {
					case err == nil:
						committed.Add(1)
					case !errors.Is(err, errNo):
						t.Errorf("worker %d: %v", w, err)
					}
				}
			})
		}
		all.Wait()
		clean(t, db)
		if got := value(t, db, 1) + value(t, db, 2) + value(t, db, 3) - 300; got != int(committed.Load()) {
			t.Errorf("rows say %d, Run said %d", got, committed.Load())
		}
		if st, _ := driver.Stats(db); st.Stuck != 0 {
			t.Errorf("%d stuck", st.Stuck)
		}
	})
}

// TestXACancelled cancels the context at every stage.
func TestXACancelled(t *testing.T) {
	onEachXA(t, func(t *testing.T, s server, db *sql.DB, bus *natsbus.Bus) {
		for stage := range 3 {
			ctx, cancel := context.WithCancel(t.Context())
			err := gtx.Run(ctx, func(ctx context.Context) error {
				tx, err := db.BeginTx(ctx, nil)
				if err != nil {
					return err
				}
				defer tx.Rollback()
				if stage == 0 {
					cancel()
				}
				if _, err := tx.ExecContext(ctx, update(1, 1)); err != nil {
					return err
				}
				if stage == 1 {
					cancel()
				}
				if err := tx.Commit(); err != nil {
					return err
				}
				if stage == 2 {
					cancel()
				}
				return nil
			}, isolated(bus)...)
			cancel()
			if err == nil || errors.Is(err, gtx.ErrUnknown) {
				t.Errorf("stage %d: %v", stage, err)
			}
			clean(t, db)
			if got := value(t, db, 1); got != 100 {
				t.Errorf("stage %d: got %d, want 100", stage, got)
			}
		}
	})
}
