package integration

import (
	"context"
	"database/sql"
	"strings"
	"sync"
	"testing"

	"github.com/globaltx/globaltx/gtx/tcc"
	"github.com/globaltx/globaltx/natsbus/inbox"
	"github.com/globaltx/globaltx/natsbus/outbox"
)

// openParts opens what keeps tables of its own in a database.
var openParts = map[string]func(ctx context.Context, db *sql.DB) (end func() error, err error){
	"gtx_tcc": func(ctx context.Context, db *sql.DB) (func() error, error) {
		res, err := tcc.Open(ctx, db, tcc.Config{})
		if err != nil {
			return nil, err
		}
		return res.Close, nil
	},
	"gtx_outbox": func(ctx context.Context, db *sql.DB) (func() error, error) {
		box, err := outbox.Open(ctx, db, outbox.Config{})
		if err != nil {
			return nil, err
		}
		return box.Close, nil
	},
	"gtx_inbox": func(ctx context.Context, db *sql.DB) (func() error, error) {
		_, err := inbox.Open(ctx, db, inbox.Config{Name: "billing"})
		return func() error { return nil }, err
	},
}

// guardedDSN adds gtx_guard=on to a DSN.
func guardedDSN(dsn string) string {
	return dsn + map[bool]string{true: "&", false: "?"}[strings.Contains(dsn, "?")] + "gtx_guard=on"
}

// TestPartsGuarded opens a fresh database with gtx_guard=on, which looks at every statement.
func TestPartsGuarded(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		db := open(t, s, guardedDSN(s.dsn(t)))
		for name, part := range openParts {
			end, err := part(t.Context(), db)
			if err == nil {
				err = end()
			}
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// TestPartsAtOnce has many open the same database for the first time.
func TestPartsAtOnce(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		dsn := s.dsn(t)
		dbs := []*sql.DB{open(t, s, dsn), open(t, s, guardedDSN(dsn))}
		var all sync.WaitGroup
		for name, part := range openParts {
			for i := range 6 {
				all.Go(func() {
					end, err := part(t.Context(), dbs[i%2])
					if err == nil {
						err = end()
					}
					if err != nil {
						t.Errorf("%s: %v", name, err)
					}
				})
			}
		}
		all.Wait()
	})
}

// TestPartsWithoutCreate opens as a user who may create nothing: refused with the DDL, and
// working once the tables are there.
func TestPartsWithoutCreate(t *testing.T) {
	for _, s := range servers()[1:] {
		t.Run(s.name, func(t *testing.T) {
			dsn := s.dsn(t)
			admin := open(t, s, dsn)
			mustExec(t, admin, "CREATE TABLE thing (id bigint PRIMARY KEY, n bigint NOT NULL)")
			for _, ddl := range dialects[s.driver].Schema() {
				mustExec(t, admin, ddl)
			}
			exec := func(text string) { mustExec(t, admin, text) }
			db := open(t, s, limit(t, s, dsn, exec))
			grant := func() {
				if s.family() == "gtx-postgres" {
					exec("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO PUBLIC")
				}
			}
			grant()
			if _, err := tcc.Open(t.Context(), db, tcc.Config{}); err == nil {
				t.Error("opened without tables")
			}
			mustExec(t, admin, "INSERT INTO gtx_resource (one, id, version) SELECT 1, 'a-database', 1 WHERE NOT EXISTS (SELECT 1 FROM gtx_resource)")
			for name, part := range openParts {
				if _, err := part(t.Context(), db); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "CREATE TABLE") {
					t.Errorf("%s: got %v, want the DDL", name, err)
				}
				end, err := part(t.Context(), admin)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if err := end(); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				grant()
				if end, err = part(t.Context(), db); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if err := end(); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}
