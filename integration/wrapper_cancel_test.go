package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/globaltx/globaltx/gtx"
)

// canceller ends a context at the n-th step: everything that is said to a database or
// to the coordinator is one step before it is said and one when it is answered.
type canceller struct {
	mu     sync.Mutex
	at     int
	steps  int
	cancel context.CancelFunc
	where  string
}

func (c *canceller) arm(at int, cancel context.CancelFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.steps, c.cancel, c.where = at, 0, cancel, ""
}

func (c *canceller) step(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.steps++
	if c.steps == c.at {
		c.cancel()
		c.where = what
	}
}

func (c *canceller) reached() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.where
}

// cancelling is a coordinator whose calls are steps.
type cancelling struct {
	gtx.Coordinator
	c *canceller
}

func (k cancelling) Begin(ctx context.Context, r gtx.BeginRequest) (gtx.XID, error) {
	k.c.step("before Begin")
	defer k.c.step("after Begin")
	return k.Coordinator.Begin(ctx, r)
}

func (k cancelling) Register(ctx context.Context, xid gtx.XID, b gtx.BranchRef) error {
	k.c.step("before Register")
	defer k.c.step("after Register")
	return k.Coordinator.Register(ctx, xid, b)
}

func (k cancelling) Commit(ctx context.Context, xid gtx.XID, confirmed, dead []gtx.BranchRef) (gtx.Status, error) {
	k.c.step("before Commit")
	defer k.c.step("after Commit")
	return k.Coordinator.Commit(ctx, xid, confirmed, dead)
}

// TestCancelAtEveryPoint ends the context of a Run over two databases before and after
// everything that leaves the process: both have what Run said, all connections are back
// and usable, and no goroutine stays.
func TestCancelAtEveryPoint(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		running := goleak.IgnoreCurrent()
		t.Cleanup(func() { goleak.VerifyNone(t, running) })
		c := &canceller{}
		coord := cancelling{embedded(t), c}
		var dbs [2]*sql.DB
		for i := range dbs {
			program := &hook{}
			dbs[i] = openHooked(t, s, s.dsn(t), program, &hook{})
			mustExec(t, dbs[i], "CREATE TABLE thing (id bigint PRIMARY KEY, n bigint NOT NULL)")
			mustExec(t, dbs[i], "INSERT INTO thing VALUES (1, 0), (2, 0), (3, 0)")
			name := string(rune('A' + i))
			program.Set(func(text string) error { c.step(name + " before " + text); return nil },
				func(text string, err error) error { c.step(name + " after " + text); return err })
		}
		p := s.holder
		change := "UPDATE thing SET n = n + " + p(1) + " WHERE id = " + p(2)
		works := map[string]func(ctx context.Context) error{
			"statements": func(ctx context.Context) error {
				for _, db := range dbs {
					if _, err := db.ExecContext(ctx, change, 1, 1); err != nil {
						return err
					}
				}
				return nil
			},
			"local transactions": func(ctx context.Context) error {
				for _, db := range dbs {
					tx, err := db.BeginTx(ctx, nil)
					if err != nil {
						return err
					}
					defer tx.Rollback()
					st, err := tx.PrepareContext(ctx, change)
					if err != nil {
						return err
					}
					if _, err := st.ExecContext(ctx, 1, 1); err != nil {
						return err
					}
					var n int64
					if err := tx.QueryRowContext(ctx, "SELECT n FROM thing WHERE id = "+p(1), 1).Scan(&n); err != nil {
						return err
					}
					if err := tx.Commit(); err != nil {
						return err
					}
				}
				return nil
			},
		}
		want := int64(0)
		for name, work := range works {
			for at := 1; ; at++ {
				ctx, cancel := context.WithCancel(t.Context())
				c.arm(at, cancel)
				err := gtx.Run(ctx, work, gtx.WithCoordinator(coord), gtx.WithRetries(0))
				where := c.reached()
				c.arm(-1, nil)
				cancel()
				var got [2]int64
				for i, db := range dbs {
					clean(t, db)
					// On a connection of the pool, which must be a good one.
					if err := db.QueryRow("SELECT n FROM thing WHERE id = 1").Scan(&got[i]); err != nil {
						t.Fatalf("%s, cancelled %s: read afterwards: %v", name, where, err)
					}
					eventually(t, "all connections are back in the pool", func() bool { return db.Stats().InUse == 0 })
				}
				switch {
				case errors.Is(err, gtx.ErrUnknown):
					t.Errorf("%s, cancelled %s: the coordinator is there, but Run says %v", name, where, err)
				case err == nil:
					want++
				case where == "":
					t.Fatalf("%s, not cancelled: %v", name, err)
				}
				if got != [2]int64{want, want} {
					t.Fatalf("%s, cancelled %s: Run says %v, the databases have %v, want %d", name, where, err, got, want)
				}
				if where == "" {
					t.Logf("%s: %d steps", name, at-1)
					if at < 10 {
						t.Errorf("%s: only %d steps were seen", name, at-1)
					}
					break
				}
			}
		}
	})
}

// TestPoolOfOne: programs that never need two connections at once work with a pool of
// one, also where eight goroutines want the same rows; who needs two waits until his
// context ends and leaves nothing.
func TestPoolOfOne(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		bus := embedded(t)
		var dbs [2]*sql.DB
		for i := range dbs {
			dbs[i] = open(t, s, s.dsn(t))
			dbs[i].SetMaxOpenConns(1)
			mustExec(t, dbs[i], "CREATE TABLE thing (id bigint PRIMARY KEY, n bigint NOT NULL)")
			mustExec(t, dbs[i], "INSERT INTO thing VALUES (1, 0)")
		}
		change := "UPDATE thing SET n = n + " + s.holder(1) + " WHERE id = 1"
		const workers, each = 8, 2
		var wg sync.WaitGroup
		errs := make(chan error, workers*each)
		for range workers {
			wg.Go(func() {
				for range each {
					errs <- gtx.Run(t.Context(), func(ctx context.Context) error {
						for _, db := range dbs {
							tx, err := db.BeginTx(ctx, nil)
							if err != nil {
								return err
							}
							if _, err = tx.ExecContext(ctx, change, 1); err == nil {
								var n int64
								err = tx.QueryRowContext(gtx.ReadCommitted(ctx), "SELECT n FROM thing WHERE id = 1").Scan(&n)
							}
							if err != nil {
								return errors.Join(err, tx.Rollback())
							}
							if err := tx.Commit(); err != nil {
								return err
							}
						}
						return nil
					}, gtx.WithCoordinator(bus))
				}
			})
		}
		wg.Wait()
		close(errs)
		for err := range errs {
			if err != nil {
				t.Error(err)
			}
		}
		sum := func() string {
			t.Helper()
			out := ""
			for _, db := range dbs {
				clean(t, db)
				var n int64
				if err := db.QueryRow("SELECT n FROM thing").Scan(&n); err != nil {
					t.Fatal(err)
				}
				out += fmt.Sprint(n, " ")
			}
			return out
		}
		if got, want := sum(), fmt.Sprint(workers*each, " ", workers*each, " "); got != want {
			t.Errorf("n = %s, want %s", got, want)
		}
		before := sum()
		err := gtx.Run(t.Context(), func(ctx context.Context) error {
			tx, err := dbs[0].BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer tx.Rollback()
			if _, err := tx.ExecContext(ctx, change, 1); err != nil {
				return err
			}
			_, err = dbs[0].ExecContext(ctx, change, 1) // its connection is the one of tx
			return err
		}, gtx.WithCoordinator(bus), gtx.WithTimeout(150e6))
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, gtx.ErrAborted) {
			t.Errorf("a statement beside the local transaction that has the only connection: %v", err)
		}
		if got := sum(); got != before {
			t.Errorf("n = %s after an abort, want %s", got, before)
		}
	})
}
