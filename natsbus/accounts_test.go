package natsbus

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/coordinator"
	"github.com/globaltx/globaltx/internal/testserver/natstest"
)

// TestRepliesAcrossAccounts: the requests of one batch are answered at different
// times, and all answers cross the border.
func TestRepliesAcrossAccounts(t *testing.T) {
	url, ctx := twoAccounts(t), intakeContext(t)
	core, err := dial(url, quiet, nats.UserInfo("core", "c"))
	if err != nil {
		t.Fatal(err)
	}
	defer core.Close()
	in, got := newIntake(core, 0, quiet), make(chan []coordinator.Event, 1)
	if err := in.open(func(e []coordinator.Event) bool { got <- slices.Clone(e); return true }); err != nil {
		t.Fatal(err)
	}
	defer in.close()
	app, err := dial(url, quiet, nats.UserInfo("app", "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer app.Close()
	sub, err := app.SubscribeSync("_INBOX.a.*")
	if err != nil {
		t.Fatal(err)
	}
	ask := request{Op: opOutcome, XID: wireXID}
	if err := app.PublishRequest(requestSubject(0), "_INBOX.a.1", batchOf(ask, ask)); err != nil {
		t.Fatal(err)
	}
	select {
	case events := <-got:
		for _, e := range events {
			in.reply(coordinator.Reply{Call: callOf(e), Status: gtx.Committed})
			in.flush()
			if _, err := sub.NextMsgWithContext(ctx); err != nil {
				t.Fatal(err)
			}
		}
	case <-ctx.Done():
		t.Fatal("the batch did not arrive")
	}
}

// twoAccounts runs a server whose applications have an account of their own.
func twoAccounts(t *testing.T) (url string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "nats.conf")
	err := os.WriteFile(file, []byte(`accounts {
  CORE {
    exports: [ { service: "gtx.svc.>", response_type: stream, accounts: [APPS] } ]
    users: [ { user: core, password: c } ]
  }
  APPS {
    imports: [ { service: { account: CORE, subject: "gtx.svc.>" } } ]
    users: [ { user: app, password: a } ]
  }
}`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	opts, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return natstest.Run(t, opts)
}
