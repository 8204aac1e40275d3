package testserver

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"
)

// cleanTimeout bounds the wait of Clean. Phase two runs on its own, in batches.
const cleanTimeout = 20 * time.Second

// Clean fails the test unless the database comes to hold no branch header and no
// undo row: it looks until both gtx_branch and gtx_undo are empty, or were never
// made, and gives up after 20 s with the rows that are left. dialect is
// undo.Dialect.Name; the base driver of that name must be registered (those of
// MySQL and Postgres are, by this package).
func Clean(t testing.TB, dialect, dsn string) {
	t.Helper()
	db, err := sql.Open(dialect, dsn)
	if err != nil {
		t.Fatalf("open database for the check: %v", err)
	}
	defer func() { _ = db.Close() }() // only read from
	ctx, cancel := context.WithTimeout(context.Background(), cleanTimeout)
	defer cancel()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	var left []string
	for {
		now, err := leftovers(ctx, db, dialect)
		switch {
		case err == nil && len(now) == 0:
			return
		case err == nil:
			left = now
		case ctx.Err() == nil:
			t.Errorf("look for leftovers: %v", err)
			return
		}
		select {
		case <-ctx.Done():
			t.Errorf("left in the database after %v:\n%s", cleanTimeout, strings.Join(left, "\n"))
			return
		case <-tick.C:
		}
	}
}

// tableExists has the query of each dialect whether a table exists.
var tableExists = map[string]string{
	"mysql":    "SELECT count(*) FROM information_schema.tables WHERE table_schema = database() AND table_name = '%s'",
	"postgres": "SELECT count(*) FROM pg_class WHERE oid = to_regclass('%s')",
	"sqlite":   "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = '%s'",
}

// leftovers tells some of the rows that are left.
func leftovers(ctx context.Context, db *sql.DB, dialect string) ([]string, error) {
	exists, ok := tableExists[dialect]
	if !ok {
		return nil, fmt.Errorf("unknown dialect %q", dialect)
	}
	var out []string
	for _, q := range []struct{ table, rows, from string }{
		{"gtx_branch", "xid, branch, state", "gtx_branch ORDER BY xid, branch LIMIT 10"},
		{"gtx_undo", "xid, branch, tbl", "gtx_undo ORDER BY xid, branch, seq LIMIT 10"},
	} {
		var n int
		if err := db.QueryRowContext(ctx, fmt.Sprintf(exists, q.table)).Scan(&n); err != nil {
			return nil, fmt.Errorf("look for table %s: %w", q.table, err)
		}
		if n == 0 {
			continue
		}
		rows, err := triples(ctx, db, "SELECT "+q.rows+" FROM "+q.from)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", q.table, err)
		}
		for _, r := range rows {
			out = append(out, fmt.Sprintf("%s: (%s) = (%s)", q.table, q.rows, r))
		}
	}
	return out, nil
}

func triples(ctx context.Context, db *sql.DB, query string) (out []string, err error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err has what there is to say
	for rows.Next() {
		var a, b, c string
		if err := rows.Scan(&a, &b, &c); err != nil {
			return nil, err
		}
		out = append(out, strings.Join([]string{a, b, c}, ", "))
	}
	return out, rows.Err()
}
