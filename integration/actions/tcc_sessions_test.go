package actions

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/tcc"
)

// TestTCCIgnoredError has the server end the local transaction behind an action that takes
// the error for nothing and goes on: what follows is refused, and all of it runs again.
func TestTCCIgnoredError(t *testing.T) {
	for _, s := range servers() {
		if s.family() == "gtx-postgres" {
			continue // there every statement fails until ROLLBACK
		}
		t.Run(s.name, func(t *testing.T) {
			bus := embedded(t)
			db := open(t, s, s.dsn(t))
			holdTable(t, db)
			h := newHold()
			reserve := registerHold(t, openTCC(t, db, bus, tcc.Config{}), h)
			h.after = func(ctx context.Context, tx tcc.Tx, what string, call int) error {
				if call > 1 {
					return nil
				}
				if _, err := tx.ExecContext(ctx, "ROLLBACK"); err != nil { // as a deadlock does, or an interrupt
					return err
				}
				if _, err := tx.ExecContext(ctx, "SELECT nonsense"); err == nil {
					return errors.New("nonsense is no error")
				}
				if _, err := tx.ExecContext(ctx, "UPDATE item SET n = n - 1000 WHERE id = 1"); err == nil {
					t.Errorf("%s: a statement ran outside of any local transaction", what)
				}
				var n int
				if err := tx.QueryRowContext(ctx, "SELECT n FROM item WHERE id = 1").Scan(&n); err == nil {
					t.Errorf("%s: a query ran outside of any local transaction", what)
				}
				return nil
			}
			for i := range 2 {
				err := gtx.Run(t.Context(), func(ctx context.Context) error {
					if err := reserve.Try(ctx, holdArgs{ID: 1, N: 9}); err != nil || i == 0 {
						return err
					}
					return errNo
				}, within20(bus)...)
				if want := map[int]error{1: errNo}[i]; !errors.Is(err, want) {
					t.Fatal(err)
				}
			}
			becomes(t, db, 1, [3]int64{91, 0, 9})
			if h.called("try") != 3 || h.called("confirm") != 2 || h.called("cancel") != 2 {
				t.Errorf("calls %v", h.calls)
			}
		})
	}
}

// TestTCCSessions has a program whose sessions see what is not committed, and refuses one whose
// sessions end no local transaction by themselves.
func TestTCCSessions(t *testing.T) {
	for _, s := range servers() {
		if s.family() != "gtx-mysql" {
			continue // the others have neither
		}
		name := map[string]string{"mysql": "transaction_isolation", "mariadb": "tx_isolation"}[s.name]
		t.Run(s.name, func(t *testing.T) {
			bus := embedded(t)
			dsn := s.dsn(t)
			holdTable(t, open(t, s, dsn))
			with := dsn + map[bool]string{true: "&", false: "?"}[strings.Contains(dsn, "?")]
			db := open(t, s, with+name+"=%27READ-UNCOMMITTED%27")
			h := newHold()
			reserve := registerHold(t, openTCC(t, db, bus, tcc.Config{}), h)
			for i := range 4 {
				err := gtx.Run(t.Context(), func(ctx context.Context) error {
					if err := reserve.Try(ctx, holdArgs{ID: 1, N: 9}); err != nil || i%2 == 0 {
						return err
					}
					return errNo
				}, within20(bus)...)
				if want := map[int]error{1: errNo}[i%2]; !errors.Is(err, want) {
					t.Fatal(err)
				}
			}
			becomes(t, db, 1, [3]int64{82, 0, 18})
			var late *sql.Tx
			err := gtx.Run(t.Context(), func(ctx context.Context) error {
				return mine(ctx, db, reserve, func(tx *sql.Tx) error { late = tx; return nil })
			}, within20(bus)...)
			if !errors.Is(err, gtx.ErrNotCommitted) {
				t.Errorf("not committed: %v", err)
			}
			if late != nil {
				_ = late.Rollback()
			}
			becomes(t, db, 1, [3]int64{82, 0, 18})

			off := open(t, s, with+"autocommit=0")
			if _, err := tcc.Open(t.Context(), off, tcc.Config{Coordinator: bus}); err == nil || !strings.Contains(err.Error(), "autocommit=0") {
				t.Errorf("autocommit=0: %v", err)
			}
		})
	}
}
