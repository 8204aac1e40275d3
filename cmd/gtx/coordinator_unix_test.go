//go:build unix

package main

import (
	"syscall"
	"testing"

	"github.com/globaltx/globaltx/gtx"
)

// A leader that stands still loses its place, and takes nothing back when it goes
// on: its next append is refused (rule L3).
func TestCoordinatorStandsStill(t *testing.T) {
	at, one, two := leaderAndStandby(t)
	b := connect(t, at)
	lost, refs := openTransaction(t, b)
	if err := one.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	two.wait(t, "two leads log ")
	xid, refs2 := openTransaction(t, b)
	if err := one.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	one.wait(t, "one follows two")
	st, err := b.Commit(t.Context(), lost, refs, nil)
	wantOutcome(t, "commit of what the first had in memory", st, err, gtx.Aborted)
	st, err = b.Commit(t.Context(), xid, refs2, nil)
	wantOutcome(t, "commit at the second", st, err, gtx.Committed)
	if code := two.end(t, syscall.SIGTERM); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	one.wait(t, "one leads log ")
	st, err = b.Outcome(t.Context(), xid)
	wantOutcome(t, "outcome at the first again", st, err, gtx.Committed)
}
