package natsbus_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/natsbus"
)

// victimEnv makes the test binary the process that is killed.
const victimEnv = "NATSBUS_TEST_VICTIM"

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimEnv); dir != "" {
		victim(dir)
	}
	if dir := os.Getenv(preCommitVictimEnv); dir != "" {
		preCommitVictim(dir)
	}
	goleak.VerifyTestMain(m)
}

// victim commits one transaction, leaves one open, tells both, and works on
// until it is killed.
func victim(dir string) {
	ctx := context.Background()
	b, err := natsbus.Embedded(ctx, dir)
	if err != nil {
		panic(err)
	}
	ref := gtx.BranchRef{Resource: "r", Branch: 1}
	work := func(commit bool) gtx.XID {
		xid, err := b.Begin(ctx, gtx.BeginRequest{})
		if err != nil {
			panic(err)
		}
		if err := b.Register(ctx, xid, ref); err != nil {
			panic(err)
		}
		if commit {
			if st, err := b.Commit(ctx, xid, []gtx.BranchRef{ref}, nil); err != nil || st != gtx.Committed {
				panic(fmt.Sprint(st, err))
			}
		}
		return xid
	}
	open := work(false)
	for {
		if _, err := fmt.Println(work(true), open); err != nil {
			os.Exit(1)
		}
	}
}

func TestReopenAfterKill(t *testing.T) {
	dir, ctx := t.TempDir(), testContext(t)
	var committed, open []gtx.XID
	for round := range 3 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), victimEnv+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			var c, o gtx.XID
			var ct, ot string
			if _, err := fmt.Sscan(lines.Text(), &ct, &ot); err != nil {
				break // the line that the kill cut
			}
			if c.UnmarshalText([]byte(ct)) != nil || o.UnmarshalText([]byte(ot)) != nil {
				break
			}
			if committed = append(committed, c); n == 0 {
				open = append(open, o)
			}
			if n == 20*(round+1) {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait() // killed
	}
	if len(committed) < 60 || len(open) != 3 {
		t.Fatalf("victims told of %d commits and %d open transactions", len(committed), len(open))
	}
	b := embedded(t, dir)
	for _, xid := range committed {
		st, err := b.Outcome(ctx, xid)
		wantStatus(t, "told committed, then killed", st, err, gtx.Committed)
	}
	for _, xid := range open {
		st, err := b.Outcome(ctx, xid)
		wantStatus(t, "left open, then killed", st, err, gtx.Aborted)
	}
	stop, err := b.Serve("r", nothing{})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	idle, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := b.Idle(idle); err != nil {
		t.Fatal(err)
	}
}
