package integration

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/internal/wire"
)

// through gives the DSN with its address replaced by a relay's.
func through(t *testing.T, s server, dsn string) (string, *wire.Relay) {
	t.Helper()
	relayed, w, err := wire.Through(strings.TrimPrefix(s.driver, "gtx-"), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return relayed, w
}

// TestRoundTrips counts what one UPDATE by key in a local transaction costs on the
// wire, against the bare driver: no more than without us.
func TestRoundTrips(t *testing.T) {
	for _, s := range servers()[1:] {
		t.Run(s.name, func(t *testing.T) {
			bus := embedded(t)
			dsn := s.dsn(t)
			direct := open(t, s, dsn)
			mustExec(t, direct, "CREATE TABLE thing (id bigint PRIMARY KEY, n bigint NOT NULL, s varchar(100))")
			mustExec(t, direct, "INSERT INTO thing VALUES (1, 1, 'a')")
			relayed, w := through(t, s, dsn+separator(dsn)+"gtx_scan_interval=1h")
			plain, err := sql.Open(strings.TrimPrefix(s.driver, "gtx-"), withoutGTX(relayed))
			if err != nil {
				t.Fatal(err)
			}
			defer plain.Close()
			plain.SetMaxOpenConns(1)
			ours, err := sql.Open(s.driver, relayed)
			if err != nil {
				t.Fatal(err)
			}
			defer ours.Close()
			ours.SetMaxOpenConns(1)

			update := func(ctx context.Context, db *sql.DB) error {
				tx, err := db.BeginTx(ctx, nil)
				if err != nil {
					return err
				}
				if _, err := tx.ExecContext(ctx, "UPDATE thing SET n = n + 1 WHERE id = 1"); err != nil {
					return err
				}
				return tx.Commit()
			}
			// Phase two's own connections speak through the relay, too: abort is
			// local to the database, so only what happens inside fn is counted.
			measured := 0
			for range 3 { // the first ones open connections and fill caches
				if err := gtx.Run(t.Context(), func(ctx context.Context) error {
					from := w.RoundTrips()
					err := update(ctx, ours)
					measured = w.RoundTrips() - from
					return err
				}, gtx.WithCoordinator(bus)); err != nil {
					t.Fatal(err)
				}
				clean(t, direct)
			}
			var bare int
			for range 3 {
				from := w.RoundTrips()
				if err := update(t.Context(), plain); err != nil {
					t.Fatal(err)
				}
				bare = w.RoundTrips() - from
			}
			t.Logf("%s: BEGIN, UPDATE, COMMIT: bare %d round trips, inside a global transaction %d", s.name, bare, measured)
			if measured > bare {
				t.Errorf("%d round trips, the bare driver needs %d", measured, bare)
			}
		})
	}
}

func separator(dsn string) string {
	for _, r := range dsn {
		if r == '?' {
			return "&"
		}
	}
	return "?"
}

func withoutGTX(dsn string) string {
	for i := range dsn {
		if i+len("gtx_scan_interval=1h") <= len(dsn) && dsn[i:i+len("gtx_scan_interval=1h")] == "gtx_scan_interval=1h" {
			return dsn[:i-1] + dsn[i+len("gtx_scan_interval=1h"):]
		}
	}
	return fmt.Sprint(dsn)
}
