package actions

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/tcc"
	"github.com/globaltx/globaltx/natsbus"
)

// holdAction is the action of the tests: it takes n from item id into held, until it is taken for
// good or put back. before and after run around the statement of
// each part, where they are set.
type holdAction struct {
	// mu protects the following.
	mu            sync.Mutex
	calls         map[string]int
	before, after func(ctx context.Context, tx tcc.Tx, what string, call int) error
}

type holdArgs struct {
	ID int
	N  int64
	By string `json:",omitempty"`
}

func newHold() *holdAction { return &holdAction{calls: map[string]int{}} }

func (h *holdAction) called(what string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.calls[what]
}

func (h *holdAction) run(ctx context.Context, tx tcc.Tx, a holdArgs, what, text string) error {
	h.mu.Lock()
	h.calls[what]++
	call, before, after := h.calls[what], h.before, h.after
	h.mu.Unlock()
	if _, global := gtx.FromContext(ctx); global {
		return errors.New("the context carries a global transaction")
	}
	if c, ok := tcc.FromContext(ctx); !ok || c.XID.IsZero() || c.Branch <= 0 || c.Attempt < 1 {
		return fmt.Errorf("call %+v, %v", c, ok)
	}
	if before != nil {
		if err := before(ctx, tx, what, call); err != nil {
			return err
		}
	}
	res, err := tx.ExecContext(ctx, fmt.Sprintf(text, a.N, a.ID))
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return fmt.Errorf("%d rows of item %d (%w)", n, a.ID, err)
	}
	if after != nil {
		return after(ctx, tx, what, call)
	}
	return nil
}

func (h *holdAction) Try(ctx context.Context, tx tcc.Tx, a holdArgs) error {
	return h.run(ctx, tx, a, "try", "UPDATE item SET n = n - %[1]d, held = held + %[1]d WHERE id = %[2]d")
}

func (h *holdAction) Confirm(ctx context.Context, tx tcc.Tx, a holdArgs) error {
	return h.run(ctx, tx, a, "confirm", "UPDATE item SET held = held - %[1]d, taken = taken + %[1]d WHERE id = %[2]d")
}

func (h *holdAction) Cancel(ctx context.Context, tx tcc.Tx, a holdArgs) error {
	return h.run(ctx, tx, a, "cancel", "UPDATE item SET held = held - %[1]d, n = n + %[1]d WHERE id = %[2]d")
}

// onEachTCC runs a test on every server, with a table item (id, n, held, taken) of three
// rows, n = 100, and a coordinator of its own.
func onEachTCC(t *testing.T, test func(t *testing.T, s server, db *sql.DB, bus *natsbus.Bus)) {
	for _, s := range servers() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			bus := embedded(t)
			db := open(t, s, s.dsn(t))
			holdTable(t, db)
			test(t, s, db, bus)
		})
	}
}

func holdTable(t testing.TB, db *sql.DB) {
	t.Helper()
	mustExec(t, db, "CREATE TABLE item (id bigint PRIMARY KEY, n bigint NOT NULL, held bigint NOT NULL, taken bigint NOT NULL)")
	mustExec(t, db, "INSERT INTO item (id, n, held, taken) VALUES (1, 100, 0, 0), (2, 100, 0, 0), (3, 100, 0, 0)")
}

// openTCC closes the resource at the end, after it has waited for all guards to go.
func openTCC(t testing.TB, db *sql.DB, bus *natsbus.Bus, cfg tcc.Config) *tcc.Resource {
	t.Helper()
	if cfg.Coordinator == nil {
		cfg.Coordinator = bus
	}
	if cfg.ScanInterval == 0 {
		cfg.ScanInterval = 50 * time.Millisecond
	}
	res, err := tcc.Open(t.Context(), db, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !t.Failed() {
			noGuards(t, db)
		}
		if err := res.Close(); err != nil {
			t.Errorf("close resource: %v", err)
		}
	})
	return res
}

func registerHold(t testing.TB, res *tcc.Resource, h *holdAction, opts ...tcc.Option) *tcc.Handle[holdArgs] {
	t.Helper()
	handle, err := tcc.Register(res, "hold", h, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return handle
}

// guardsLeft counts committed guard rows.
func guardsLeft(t testing.TB, db *sql.DB) (n int) {
	t.Helper()
	if err := db.QueryRowContext(context.Background(), "SELECT count(*) FROM gtx_tcc").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func noGuards(t testing.TB, db *sql.DB) {
	t.Helper()
	eventually(t, "no guard row is left", func() bool { return guardsLeft(t, db) == 0 })
}

// itemState is n, held and taken of an item.
func itemState(t testing.TB, db *sql.DB, id int) (got [3]int64) {
	t.Helper()
	err := db.QueryRowContext(context.Background(), fmt.Sprintf("SELECT n, held, taken FROM item WHERE id = %d", id)).Scan(&got[0], &got[1], &got[2])
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func becomes(t testing.TB, db *sql.DB, id int, want [3]int64) {
	t.Helper()
	noGuards(t, db)
	if got := itemState(t, db, id); got != want {
		t.Errorf("item %d: n, held, taken %v, want %v", id, got, want)
	}
}

func within20(bus *natsbus.Bus, opts ...gtx.Option) []gtx.Option {
	return append([]gtx.Option{gtx.WithCoordinator(bus), gtx.WithTimeout(20 * time.Second)}, opts...)
}

// TestTCC commits and aborts, alone and with branches of the other modes, in the same
// database.
func TestTCC(t *testing.T) {
	onEachTCC(t, func(t *testing.T, s server, db *sql.DB, bus *natsbus.Bus) {
		h := newHold()
		res := openTCC(t, db, bus, tcc.Config{})
		reserve := registerHold(t, res, h)
		modes := map[string]func(ctx context.Context) error{
			"alone": func(context.Context) error { return nil },
			"AT": func(ctx context.Context) error {
				_, err := db.ExecContext(ctx, "UPDATE item SET taken = taken + 1 WHERE id = 2")
				return err
			},
		}
		if s.driver != "gtx-sqlite" {
			modes["XA"] = func(ctx context.Context) error {
				_, err := db.ExecContext(gtx.InMode(ctx, gtx.XA), "UPDATE item SET taken = taken + 1 WHERE id = 3")
				return err
			}
		}
		n := int64(0)
		for name, other := range modes {
			t.Run(name, func(t *testing.T) {
				before := itemState(t, db, 1)
				work := func(ctx context.Context) error {
					if err := reserve.Try(ctx, holdArgs{ID: 1, N: 3}); err != nil {
						return err
					}
					if err := reserve.Try(ctx, holdArgs{ID: 1, N: 4, By: "né\x00'\"\\ 😀 \u2028"}); err != nil {
						return err
					}
					if got := itemState(t, db, 1); got != [3]int64{before[0] - 7, 7, before[2]} {
						t.Errorf("before the decision: %v", got)
					}
					return other(ctx)
				}
				err := gtx.Run(t.Context(), func(ctx context.Context) error {
					if err := work(ctx); err != nil {
						return err
					}
					return errNo
				}, within20(bus)...)
				if !errors.Is(err, errNo) {
					t.Fatalf("abort: %v", err)
				}
				becomes(t, db, 1, before)
				if err := gtx.Run(t.Context(), work, within20(bus)...); err != nil {
					t.Fatalf("commit: %v", err)
				}
				becomes(t, db, 1, [3]int64{before[0] - 7, 0, before[2] + 7})
			})
			n += 2
		}
		eventually(t, "stats", func() bool { st := res.Stats(); return st.Confirmed == n && st.Cancelled == n })
		if st := res.Stats(); st.Retries != 0 || st.Waiting != 0 || st.Stuck != 0 {
			t.Errorf("stats %+v", st)
		}
	})
}
