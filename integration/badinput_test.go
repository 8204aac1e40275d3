package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/gtxhttp"
	"github.com/globaltx/globaltx/natsbus"
)

func TestUnknownParameter(t *testing.T) {
	for _, s := range servers() {
		dsn := s.dsn(t)
		db, err := sql.Open(s.driver, dsn+separator(dsn)+"gtx_lock_wiat=2s")
		if err == nil {
			err = db.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "gtx_lock_wiat") || !strings.Contains(err.Error(), "gtx_lock_wait") {
			t.Errorf("%s: got %v, want an error that names the parameter and the known ones", s.name, err)
		}
	}
}

func TestNoCoordinator(t *testing.T) {
	err := gtx.Run(t.Context(), func(context.Context) error { t.Error("fn ran"); return nil })
	if !errors.Is(err, gtx.ErrNoCoordinator) {
		t.Errorf("got %v, want ErrNoCoordinator", err)
	}
}

// TestCoordinatorLost closes the bus in the middle: what has committed locally is
// undone when a coordinator of the same log is back.
func TestCoordinatorLost(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		dir := t.TempDir()
		bus, err := natsbus.Embedded(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		dsn := s.dsn(t)
		db := open(t, s, dsn+separator(dsn)+"gtx_scan_interval=20ms")
		mustExec(t, db, "CREATE TABLE thing (id bigint PRIMARY KEY, n bigint NOT NULL, s varchar(100))")
		mustExec(t, db, "INSERT INTO thing VALUES (1, 1, NULL)")
		before := table(t, db)
		err = gtx.Run(t.Context(), func(ctx context.Context) error {
			if _, err := db.ExecContext(ctx, "UPDATE thing SET n = 2"); err != nil {
				return err
			}
			return bus.Close()
		}, gtx.WithCoordinator(bus), gtx.WithRetries(0))
		if !errors.Is(err, gtx.ErrUnknown) && !errors.Is(err, gtx.ErrUnavailable) {
			t.Fatalf("got %v, want an outcome that is not committed", err)
		}
		again, err := natsbus.Embedded(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		gtx.SetDefault(again)
		defer gtx.SetDefault(nil)
		// Any transaction makes the database know the new bus.
		if err := gtx.Run(t.Context(), func(ctx context.Context) error {
			_, err := db.ExecContext(ctx, "DELETE FROM thing WHERE id = 77")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		clean(t, db)
		if diff := cmp.Diff(before, table(t, db)); diff != "" {
			t.Errorf("an undecided change stayed (-before +after):\n%s", diff)
		}
	})
}

// TestCancelAndPanic ends fn by a cancelled context and by a panic, after each of
// its statements: nothing stays, no connection and no goroutine leaks.
func TestCancelAndPanic(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		running := goleak.IgnoreCurrent()
		t.Cleanup(func() { goleak.VerifyNone(t, running) })
		bus := embedded(t)
		db := open(t, s, s.dsn(t))
		mustExec(t, db, "CREATE TABLE thing (id bigint PRIMARY KEY, n bigint NOT NULL, s varchar(100))")
		mustExec(t, db, "INSERT INTO thing VALUES (1, 1, NULL)")
		before := table(t, db)
		for stop := range 5 {
			for _, panics := range []bool{false, true} {
				t.Run(fmt.Sprintf("step %d panic %v", stop, panics), func(t *testing.T) {
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					step := func(n int) {
						switch {
						case n == stop && panics:
							panic(errUndo)
						case n == stop:
							cancel()
						}
					}
					run := func() (err error) {
						defer func() {
							if p := recover(); p != nil {
								err = p.(error)
							}
						}()
						return gtx.Run(ctx, func(ctx context.Context) error {
							step(0)
							if _, err := db.ExecContext(ctx, "UPDATE thing SET n = n + 1 WHERE id = 1"); err != nil {
								return err
							}
							step(1)
							tx, err := db.BeginTx(ctx, nil)
							if err != nil {
								return err
							}
							defer tx.Rollback()
							step(2)
							if _, err := tx.ExecContext(ctx, "INSERT INTO thing VALUES (2, 2, 'x')"); err != nil {
								return err
							}
							step(3)
							if err := tx.Commit(); err != nil {
								return err
							}
							step(4)
							return nil
						}, gtx.WithCoordinator(bus))
					}
					if err := run(); err == nil {
						t.Fatal("committed")
					}
					clean(t, db)
					if diff := cmp.Diff(before, table(t, db)); diff != "" {
						t.Errorf("something stayed (-before +after):\n%s", diff)
					}
				})
			}
		}
	})
}

// TestSecondService lets a service behind HTTP take part in the transaction.
func TestSecondService(t *testing.T) {
	all := servers()
	for _, pair := range [][2]server{{all[0], all[3]}, {all[1], all[4]}} {
		t.Run(pair[0].name+"+"+pair[1].name, func(t *testing.T) {
			bus := embedded(t)
			var dbs [2]*sql.DB
			for i, s := range pair {
				dbs[i] = open(t, s, s.dsn(t))
				mustExec(t, dbs[i], "CREATE TABLE thing (id bigint PRIMARY KEY, n bigint NOT NULL, s varchar(100))")
				mustExec(t, dbs[i], "INSERT INTO thing VALUES (1, 0, NULL)")
			}
			service := httptest.NewServer(gtxhttp.Handler(bus, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if _, err := dbs[1].ExecContext(r.Context(), "UPDATE thing SET n = n + 1 WHERE id = 1"); err != nil {
					http.Error(w, err.Error(), http.StatusInternalServerError)
				}
			}), gtxhttp.Config{Trust: func(*http.Request) bool { return true }}))
			defer service.Close()
			client := &http.Client{Transport: gtxhttp.NewTransport(nil)}
			defer client.CloseIdleConnections()
			for n, want := range []error{nil, errUndo} {
				err := gtx.Run(t.Context(), func(ctx context.Context) error {
					if _, err := dbs[0].ExecContext(ctx, "UPDATE thing SET n = n + 1 WHERE id = 1"); err != nil {
						return err
					}
					req, err := http.NewRequestWithContext(ctx, http.MethodPost, service.URL, nil)
					if err != nil {
						return err
					}
					res, err := client.Do(req)
					if err != nil {
						return err
					}
					defer res.Body.Close()
					if res.StatusCode != http.StatusOK {
						return fmt.Errorf("service answered %s", res.Status)
					}
					return want
				}, gtx.WithCoordinator(bus))
				if !errors.Is(err, want) {
					t.Fatalf("try %d: got %v, want %v", n, err, want)
				}
				for i, db := range dbs {
					clean(t, db)
					if got := table(t, db); !cmp.Equal(got, []string{`1 1 "" false`}) {
						t.Errorf("try %d, database %d: %v, want n = 1", n, i, got)
					}
				}
			}
		})
	}
}
