package integration

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/globaltx/globaltx/driver"
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/natsbus"
	"github.com/globaltx/globaltx/xa"
)

func threePhase(bus *natsbus.Bus, ps ...gtx.Participant) []gtx.Option {
	return []gtx.Option{
		gtx.WithCoordinator(bus), gtx.WithMode(gtx.ThreePhase), gtx.WithTimeout(20 * time.Second), gtx.WithResources(ps...),
	}
}

// TestThreePhase commits and aborts between every server and the next one.
func TestThreePhase(t *testing.T) {
	all := preparing()
	for i, s := range all {
		to := all[(i+1)%len(all)]
		t.Run(s.name+"+"+to.name, func(t *testing.T) {
			t.Parallel()
			bus := embedded(t)
			one, two := open(t, s, s.dsn(t)), open(t, to, to.dsn(t))
			itemTable(t, one)
			itemTable(t, two)
			opts := threePhase(bus, driver.Participant(one), driver.Participant(two))
			for i := range 8 {
				err := gtx.Run(t.Context(), func(ctx context.Context) error {
					tx, _ := gtx.FromContext(ctx)
					if !tx.XID().ThreePhase() || tx.Mode() != gtx.ThreePhase {
						t.Errorf("xid %s, mode %s", tx.XID(), tx.Mode())
					}
					if err := locally(ctx, one, func(tx *sql.Tx) error {
						_, err := tx.ExecContext(ctx, update(1, -1))
						return err
					}); err != nil {
						return err
					}
					if _, err := two.ExecContext(gtx.InMode(ctx, gtx.AT), update(1, 1)); err != nil { // the mode is fixed
						return err
					}
					if i%4 == 3 {
						return errNo
					}
					return nil
				}, opts...)
				if i%4 == 3 && !errors.Is(err, errNo) || i%4 != 3 && err != nil {
					t.Fatal(err)
				}
			}
			if a, b := value(t, one, 1), value(t, two, 1); a != 94 || b != 106 {
				t.Errorf("got %d and %d, want 94 and 106", a, b)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if err := bus.Idle(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestH1Votes holds that a no comes before anything is begun, and that who was not asked
// does not take part.
func TestH1Votes(t *testing.T) {
	onEachXA(t, func(t *testing.T, s server, db *sql.DB, bus *natsbus.Bus) {
		other := open(t, s, s.dsn(t))
		itemTable(t, other)
		ran := false
		fn := func(ctx context.Context) error {
			ran = true
			_, err := db.ExecContext(ctx, update(1, 1))
			return err
		}
		no := func(what string, opts []gtx.Option) {
			t.Helper()
			ran = false
			if err := gtx.Run(t.Context(), fn, opts...); !errors.Is(err, gtx.ErrVotedNo) || ran {
				t.Errorf("%s: %v, function ran: %t", what, err, ran)
			}
		}
		if err := driver.Drain(other, true); err != nil {
			t.Fatal(err)
		}
		no("draining", threePhase(bus, driver.Participant(db), driver.Participant(other)))
		if err := driver.Drain(other, false); err != nil {
			t.Fatal(err)
		}
		gone, err := sql.Open(s.driver, s.dsn(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := gone.Close(); err != nil {
			t.Fatal(err)
		}
		no("closed", threePhase(bus, driver.Participant(db), driver.Participant(gone)))
		plain, err := sql.Open("gtx-sqlite", sqliteDSN(t))
		if err != nil {
			t.Fatal(err)
		}
		defer plain.Close()
		no("cannot prepare", threePhase(bus, driver.Participant(db), driver.Participant(plain)))
		no("nobody serves it", threePhase(bus, driver.Participant(db), gtx.Remote("3b8b3c9e-7d1c-4c4e-9d5e-0d1a2b3c4d5e-xa")))

		err = gtx.Run(t.Context(), fn, threePhase(bus, driver.Participant(other))...)
		var refused *gtx.UnsupportedError
		if !errors.As(err, &refused) || refused.Code != "not-named" {
			t.Errorf("a database that was not named: %v", err)
		}
		for _, opts := range [][]gtx.Option{
			{gtx.WithCoordinator(bus), gtx.WithMode(gtx.ThreePhase)},
			{gtx.WithCoordinator(bus), gtx.WithResources(driver.Participant(db))},
			{gtx.WithCoordinator(bus), gtx.WithMode(gtx.ThreePhase + 1)},
		} {
			if err := gtx.Run(t.Context(), fn, opts...); err == nil {
				t.Error("options that contradict each other were taken")
			}
		}
		if got := value(t, db, 1); got != 100 {
			t.Errorf("got %d, want 100", got)
		}

		var id gtx.ResourceID
		if err := db.QueryRow("SELECT id FROM gtx_resource").Scan(&id); err != nil {
			t.Fatal(err)
		}
		if err := gtx.Run(t.Context(), fn, threePhase(bus, gtx.Remote(xa.ResourceOf(id)))...); err != nil {
			t.Errorf("asked by its name: %v", err)
		}
		if got := value(t, db, 1); got != 101 {
			t.Errorf("got %d, want 101", got)
		}
	})
}
