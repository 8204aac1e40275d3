package main

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/tcc"
	"github.com/globaltx/globaltx/natsbus"
)

// broken is an action that cannot be cancelled.
type broken struct{ cancelled *atomic.Int64 }

func (broken) Try(context.Context, tcc.Tx, string) error     { return nil }
func (broken) Confirm(context.Context, tcc.Tx, string) error { return nil }

func (b broken) Cancel(context.Context, tcc.Tx, string) error {
	b.cancelled.Add(1)
	return errors.New("the other side says no")
}

// TestListsActions looks at an action whose Cancel fails, and drops it by hand.
func TestListsActions(t *testing.T) {
	for name, dsn := range messKinds() {
		t.Run(name, func(t *testing.T) {
			bus, err := natsbus.Embedded(t.Context(), t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { bus.Close() })
			target, err := parseTarget(dsn(t))
			if err != nil {
				t.Fatal(err)
			}
			side, err := target.open(true, 4)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { side.DB.Close() })
			res, err := tcc.Open(t.Context(), side.DB, tcc.Config{Coordinator: bus})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { res.Close() })
			var cancelled atomic.Int64
			action, err := tcc.Register(res, "ship", broken{&cancelled})
			if err != nil {
				t.Fatal(err)
			}
			m := &mess{T: t, dsn: target.text}
			m.gtx(exitOK, []string{"ls", m.dsn}, "no global transaction has anything left")
			no := errors.New("no")
			err = gtx.Run(t.Context(), func(ctx context.Context) error {
				tx, _ := gtx.FromContext(ctx)
				m.xid = tx.XID()
				if err := action.Try(ctx, "a secret"); err != nil {
					return err
				}
				return no
			}, gtx.WithCoordinator(bus))
			if !errors.Is(err, no) {
				t.Fatal(err)
			}
			var branch gtx.BranchID
			for deadline := time.Now().Add(20 * time.Second); branch == 0; {
				all, err := tcc.List(t.Context(), side.DB, 10)
				if err != nil || time.Now().After(deadline) {
					t.Fatal(all, err)
				}
				if len(all) == 1 && all[0].Tries > 0 {
					branch = all[0].Branch
				}
			}
			line := m.xid.String() + ` +\d+s +` + strconv.FormatInt(int64(branch), 10) + ` +ship v1 +\d+ +\d{4}-.* the other side says no`
			m.gtx(exitOK, []string{"ls", m.dsn}, "NEXT TRY", line)
			m.gtx(exitOK, []string{"show", m.dsn, m.xid.String()}, "global transaction", line)
			m.gtx(exitOK, []string{"ls", "--stuck", m.dsn}, "no global transaction is stuck")
			drop := []string{"resolve", m.dsn, m.xid.String(), "--drop-action", strconv.FormatInt(int64(branch), 10), "--yes"}
			m.gtx(exitUsage, drop, "wants a --reason")
			res.Close() // else it may be at work on the guard
			m.gtx(exitOK, append(drop, "--reason", "done by hand"), line, "is forgotten")
			m.gtx(exitError, append(drop, "--reason", "done by hand"), "there is no such guard")
			m.gtx(exitOK, []string{"ls", m.dsn}, "no global transaction has anything left")
		})
	}
}
