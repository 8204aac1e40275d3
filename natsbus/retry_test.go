package natsbus_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/natsbus"
)

// TestC4CommitAtTheNextLeader takes the leader away in the middle of a commit.
// The client finds the next one by itself and hears what is in the log: the
// leader's own words were lost.
func TestC4CommitAtTheNextLeader(t *testing.T) {
	for _, tt := range []struct {
		name string
		at   string // what the leader writes when its line is held
		want error
	}{
		{"the record is in the log", ".r ", nil}, // its reply
		{"the record is not in the log", " gtx.log ", gtx.ErrAborted},
	} {
		t.Run(tt.name, func(t *testing.T) {
			url, way := natsServer(t), newLine()
			defer way.release()
			service(t, url, func(c *natsbus.ServiceConfig) { c.Options = []nats.Option{way.option()} })
			second := service(t, url)
			b := client(t, url)
			stop, err := b.Serve("r", nothing{})
			if err != nil {
				t.Fatal(err)
			}
			defer stop()
			xid, err := runHeld(t, b, way, tt.at)
			if !errors.Is(err, tt.want) || errors.Is(err, gtx.ErrUnknown) {
				t.Errorf("run: %v, want %v", err, tt.want)
			}
			if !second.Leading() {
				t.Errorf("second %+v", second.Status())
			}
			want := gtx.Aborted
			if tt.want == nil {
				want = gtx.Committed
			}
			st, err := b.Outcome(testContext(t), xid)
			wantStatus(t, "outcome", st, err, want)
			wantIdle(t, b)
		})
	}
}

// TestC4UnknownIsKnownLater: with no next leader in time the caller hears that
// the outcome is unknown, and can ask for it when there is one.
func TestC4UnknownIsKnownLater(t *testing.T) {
	url, way := natsServer(t), newLine()
	defer way.release()
	service(t, url, func(c *natsbus.ServiceConfig) { c.Options = []nats.Option{way.option()} })
	b, err := natsbus.Connect(testContext(t), natsbus.Config{URL: url, Timeout: 500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	xid, err := runHeld(t, b, way, ".r ")
	var unknown *gtx.UnknownError
	if !errors.As(err, &unknown) || unknown.XID != xid || !errors.Is(err, gtx.ErrUnavailable) {
		t.Fatalf("run: %v", err)
	}
	waitLeading(t, service(t, url))
	st, err := client(t, url).Outcome(testContext(t), xid)
	wantStatus(t, "outcome at the next leader", st, err, gtx.Committed)
}

// runHeld runs a transaction and holds the line of the leader when it writes
// the text during the commit.
func runHeld(t *testing.T, b *natsbus.Bus, way *line, at string) (xid gtx.XID, err error) {
	t.Helper()
	err = b.Run(testContext(t), func(ctx context.Context) error {
		tx, _ := gtx.FromContext(ctx)
		xid = tx.XID()
		branch, err := tx.Enlist("r")
		if err != nil {
			return err
		}
		if err := b.Register(ctx, xid, branch); err != nil {
			return err
		}
		tx.Confirm(branch)
		way.holdAt(at)
		return nil
	})
	return xid, err
}
