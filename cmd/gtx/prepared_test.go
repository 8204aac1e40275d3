package main

import (
	"context"
	"testing"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/natsbus"
)

// TestListsPrepared looks at a branch while it waits, and when it has ended.
func TestListsPrepared(t *testing.T) {
	for name, dsn := range messKinds() {
		if name == "sqlite" {
			continue
		}
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
			side, err := target.open(true, 2)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { side.DB.Close() })
			if _, err := side.DB.ExecContext(t.Context(), "CREATE TABLE parcel (id bigint PRIMARY KEY)"); err != nil {
				t.Fatal(err)
			}
			m := &mess{T: t, dsn: target.text}
			err = gtx.Run(t.Context(), func(ctx context.Context) error {
				if _, err := side.DB.ExecContext(ctx, "INSERT INTO parcel VALUES (1)"); err != nil {
					return err
				}
				tx, _ := gtx.FromContext(ctx)
				m.xid = tx.XID()
				since := "unknown"
				if target.dialect.Name() == "postgres" {
					since = `\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ`
				}
				line := m.xid.String() + ` +` + since + ` +\d+ +` + m.xid.String() + ` +[0-9a-f-]+`
				m.gtx(exitOK, []string{"ls", m.dsn}, "PREPARED SINCE", line)
				m.gtx(exitOK, []string{"show", m.dsn, m.xid.String()}, "global transaction", line)
				m.gtx(exitOK, []string{"ls", "--stuck", m.dsn}, "no global transaction is stuck")
				return nil
			}, gtx.WithCoordinator(bus), gtx.WithMode(gtx.XA))
			if err != nil {
				t.Fatal(err)
			}
			m.gtx(exitOK, []string{"ls", m.dsn}, "no global transaction has anything left")
			m.gtx(exitError, []string{"show", m.dsn, m.xid.String()}, "no undo row .* no prepared branch or action")
		})
	}
}
