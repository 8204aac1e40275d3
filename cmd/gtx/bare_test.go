package main

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/tcc"
	"github.com/globaltx/globaltx/natsbus"
)

// TestListsBareActions looks at an action without a database whose Cancel fails, and drops it
// by hand.
func TestListsBareActions(t *testing.T) {
	bus, err := natsbus.Embedded(t.Context(), t.TempDir(), natsbus.Listen("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bus.Close() })
	res, err := tcc.Bare(t.Context(), "mail", tcc.Config{Coordinator: bus})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Close() })
	var cancelled atomic.Int64
	action, err := tcc.Register(res, "send", broken{&cancelled})
	if err != nil {
		t.Fatal(err)
	}
	m := &mess{T: t}
	ls := []string{"ls", "--nats", bus.URL()}
	m.gtx(exitOK, ls, "keeps no guard")
	_ = gtx.Run(t.Context(), func(ctx context.Context) error {
		tx, _ := gtx.FromContext(ctx)
		m.xid = tx.XID()
		if err := action.Try(ctx, "a secret"); err != nil {
			t.Error(err)
		}
		return context.Canceled
	}, gtx.WithCoordinator(bus))
	var branch gtx.BranchID
	for deadline := time.Now().Add(time.Minute); branch == 0; <-time.After(5 * time.Millisecond) {
		all, err := tcc.ListBare(t.Context(), bus, "mail")
		if err != nil || time.Now().After(deadline) {
			t.Fatal(all, err)
		}
		if len(all) == 1 && all[0].Tries > 0 {
			branch = all[0].Branch
		}
	}
	number := strconv.FormatInt(int64(branch), 10)
	line := m.xid.String() + ` +\d+s +` + number + ` +mail +send v1 +\S+ +\d+ +\d{4}-.* the other side says no`
	m.gtx(exitOK, ls, "NEXT TRY", line)
	m.gtx(exitOK, append(ls, "--stuck"), "keeps no guard")
	m.gtx(exitUsage, append(ls, "sqlite:x.db"))
	m.gtx(exitUsage, []string{"ls"})
	m.gtx(exitError, []string{"ls", "--dir", filepath.Join(t.TempDir(), "none")}, "no such file")
	empty := t.TempDir()
	m.gtx(exitError, []string{"ls", "--dir", empty}, "no decision log is there")
	if made, err := os.ReadDir(empty); err != nil || len(made) != 0 {
		t.Errorf("a look has made %v, %v", made, err)
	}
	drop := []string{"resolve", "bare:mail", m.xid.String(), "--drop-action", number, "--yes", "--nats", bus.URL()}
	m.gtx(exitUsage, drop, "a --reason")
	res.Close() // else it may be at work on the guard
	drop = append(drop, "--reason", "sent by hand")
	for deadline := time.Now().Add(time.Minute); ; <-time.After(100 * time.Millisecond) { // what was begun holds it for a while
		code, out, errs := runGTX(t, drop...)
		if code == exitOK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(out, errs)
		}
	}
	m.gtx(exitError, drop, "there is no such guard")
	m.gtx(exitOK, ls, "keeps no guard")
}
