package natsbus

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/internal/testserver/natstest"
)

// TestY1LostGuard: what it means that a guard is not as named, after each way there.
func TestY1LostGuard(t *testing.T) {
	for _, tt := range []struct {
		op      guardOp
		code    guardCode
		unclear bool
		want    error
	}{
		{guardUpdate, guardChanged, false, gtx.ErrGuardChanged},
		{guardUpdate, guardGone, false, gtx.ErrGuardChanged},
		{guardUpdate, guardChanged, true, gtx.ErrUnavailable}, // somebody may have changed what this call has written
		{guardUpdate, guardGone, true, gtx.ErrUnavailable},
		{guardDelete, guardChanged, false, gtx.ErrGuardChanged},
		{guardDelete, guardGone, false, gtx.ErrGuardChanged},
		{guardDelete, guardChanged, true, gtx.ErrGuardChanged}, // it was replaced, so it was there
		{guardDelete, guardGone, true, nil},
		{guardCreate, guardChanged, false, gtx.ErrGuardChanged},
	} {
		q := guardRequest{Op: tt.op}
		err := q.lost(guardAnswer{Code: tt.code}, tt.unclear)
		both := errors.Is(err, gtx.ErrGuardChanged) && errors.Is(err, gtx.ErrUnavailable)
		if !errors.Is(err, tt.want) || both {
			t.Errorf("%s, code %d, unclear %v: %v", tt.op, tt.code, tt.unclear, err)
		}
	}
}

// TestGuardsAcrossAccounts: who may call a coordinator in another account may keep guards
// there, of any size.
func TestGuardsAcrossAccounts(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "nats.conf")
	err := os.WriteFile(file, []byte(`jetstream { store_dir: "`+dir+`", sync_interval: always }
accounts {
  CORE {
    jetstream: enabled
    exports: [ { service: "gtx.svc.>", response_type: stream, accounts: [APPS] }, { stream: "gtx.evt.>", accounts: [APPS] } ]
    users: [ { user: core, password: c } ]
  }
  APPS {
    imports: [ { service: { account: CORE, subject: "gtx.svc.>" } }, { stream: { account: CORE, subject: "gtx.evt.>" } } ]
    users: [ { user: app, password: a, permissions: { publish: "gtx.svc.>", subscribe: ["gtx.evt.>", "_INBOX.>"] } } ]
  }
}`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	opts, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	url, ctx := natstest.Run(t, opts), intakeContext(t)
	svc, err := Serve(ctx, ServiceConfig{
		URL: url, Options: []nats.Option{nats.UserInfo("core", "c")}, AssumeSyncAlways: true, Logger: quiet, MaxBytes: 64 << 20,
		TakeoverAfter: 100 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer svc.Stop()
	b, err := Connect(ctx, Config{URL: url, Options: []nats.Option{nats.UserInfo("app", "a")}, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var all []gtx.Guard
	for i := range 3 {
		g := gtx.Guard{Resource: "r", XID: wireXID, Branch: gtx.BranchID(i + 1), Body: bytes.Repeat([]byte{'a'}, gtx.MaxGuard)}
		if g.Revision, err = b.CreateGuard(ctx, g); err != nil {
			t.Fatal(err)
		}
		all = append(all, g)
	}
	for _, x := range []gtx.XID{wireXID, {}} {
		got, err := b.Guards(ctx, "r", x)
		if err != nil || !reflect.DeepEqual(got, all) {
			t.Fatalf("%d guards, %v", len(got), err)
		}
	}
	for _, g := range all {
		if err := b.DeleteGuard(ctx, g); err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzGuardRequest(f *testing.F) {
	for _, q := range []guardRequest{
		{Op: guardCreate, Nonce: 1, Time: time.Second, Guard: gtx.Guard{Resource: "r", XID: wireXID, Branch: 5, Body: []byte("body")}},
		{Op: guardDelete, Nonce: 1 << 63, Guard: gtx.Guard{Resource: "a.*", XID: wireXID, Branch: 1 << 62, Body: []byte{}}, Number: 1 << 40},
		{Op: guardList, Guard: gtx.Guard{Resource: "r", Body: []byte{}}},
		{Op: guardList},
	} {
		f.Add(q.encode())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		q, err := decodeGuardRequest(data)
		if err != nil {
			return
		}
		if again := q.encode(); !bytes.Equal(again, data) {
			t.Errorf("%x became %x", data, again)
		}
		name, err := guardName(&q.Guard)
		if err == nil && (strings.Count(name, ".") != 4 || strings.ContainsAny(name, "*> \r\n\t")) {
			t.Errorf("subject %q", name)
		}
		if q.Op == guardList {
			return
		}
		if got, err := readGuardName(name); err != nil || got.Resource != q.Guard.Resource || got.XID != q.Guard.XID || got.Branch != q.Guard.Branch {
			t.Errorf("subject %q: %+v, %v", name, got, err)
		}
	})
}

func FuzzGuardAnswer(f *testing.F) {
	for _, a := range []guardAnswer{
		{Number: 7},
		{Code: guardChanged, Text: "why"},
		{Number: 9, More: true, Guards: []gtx.Guard{{Resource: "r", XID: wireXID, Branch: 1, Revision: 2, Body: []byte("b")}, {XID: wireXID, Branch: 2, Revision: 3}}},
	} {
		f.Add(a.encode())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := decodeGuardAnswer(data)
		if err != nil {
			return
		}
		again, err := decodeGuardAnswer(a.encode())
		if a.Text = a.Text[:min(len(a.Text), maxText)]; err != nil || !reflect.DeepEqual(a, again) {
			t.Errorf("%+v became %+v, %v", a, again, err)
		}
	})
}
