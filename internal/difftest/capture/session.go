package capture

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"
	_ "github.com/lib/pq"
	_ "modernc.org/sqlite"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// session is one connection to an engine whose schema is made. It is for one
// goroutine at a time.
type session struct {
	Engine
	db      *sql.DB
	conn    *sql.Conn
	version int
	base    map[string]int64 // the snapshot before each statement
	shot    string           // the query of a snapshot
}

func open(ctx context.Context, e Engine) (_ *session, err error) {
	s := &session{Engine: e}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	driver, dsn := "sqlite", e.DSN
	switch e.Dialect {
	case sqltext.MySQL, sqltext.MariaDB:
		cfg, err := mysql.ParseDSN(e.DSN)
		if err != nil {
			return nil, fmt.Errorf("read the DSN of %s: %w", e.Name, err)
		}
		cfg.ClientFoundRows = true
		driver, dsn = "mysql", cfg.FormatDSN()
	case sqltext.Postgres:
		driver = "postgres"
	}
	if s.db, err = sql.Open(driver, dsn); err != nil {
		return nil, fmt.Errorf("open %s: %w", e.Name, err)
	}
	if s.conn, err = s.db.Conn(ctx); err != nil {
		return nil, fmt.Errorf("connect to %s: %w", e.Name, err)
	}
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	if err := create(ctx, s.conn, e.Dialect); err != nil {
		return nil, err
	}
	s.shot = snapshotQuery(e.Dialect)
	s.base, err = s.snapshot(ctx, s.conn)
	return s, err
}

// prepare sets the session's modes and asks for the version.
func (s *session) prepare(ctx context.Context) error {
	var modes []string
	if s.Mode.ANSIQuotes {
		modes = append(modes, "ANSI_QUOTES")
	}
	if s.Mode.NoBackslashEscapes {
		modes = append(modes, "NO_BACKSLASH_ESCAPES")
	}
	switch s.Dialect {
	case sqltext.MySQL, sqltext.MariaDB:
		set := "SET sql_mode = concat(@@sql_mode, '," + strings.Join(modes, ",") + "')"
		if _, err := s.conn.ExecContext(ctx, set); err != nil {
			return fmt.Errorf("set modes: %w", err)
		}
	case sqltext.Postgres:
		if err := s.conn.QueryRowContext(ctx, "SELECT current_setting('server_version_num')::int / 10000").Scan(&s.version); err != nil {
			return fmt.Errorf("read version: %w", err)
		}
	}
	return nil
}

func (s *session) close() {
	if s.conn != nil {
		_ = s.conn.Close() // nothing is kept
	}
	if s.db != nil {
		_ = s.db.Close() // nothing is kept
	}
}

// querier is a connection or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// snapshotQuery reads all tables: name, key as one text, and touched.
func snapshotQuery(d sqltext.Dialect) string {
	q := quoter{d: d}
	var parts []string
	for i, t := range tables {
		key := q.always(t.key[0])
		second := "''"
		if len(t.key) > 1 {
			second = q.always(t.key[1])
		}
		parts = append(parts, fmt.Sprintf("SELECT %d, %s, %s, %s FROM %s", i, key, second, touched, q.always(t.name)))
	}
	return strings.Join(parts, " UNION ALL ")
}

// snapshot gives touched of every row by its key.
func (s *session) snapshot(ctx context.Context, q querier) (map[string]int64, error) {
	rows, err := q.QueryContext(ctx, s.shot)
	if err != nil {
		return nil, fmt.Errorf("take snapshot: %w", err)
	}
	defer rows.Close()
	all := map[string]int64{}
	for rows.Next() {
		var i int
		var n int64
		var key, second string
		if err := rows.Scan(&i, &key, &second, &n); err != nil {
			return nil, fmt.Errorf("take snapshot: %w", err)
		}
		k := []string{key, second}
		all[joinKey(tables[i], k[:len(tables[i].key)])] = n
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("take snapshot: %w", err)
	}
	return all, nil
}

func joinKey(t *table, values []string) string { return t.name + ":" + strings.Join(values, "|") }

// difference gives the keys of rows that are changed or gone, and of new ones.
func difference(before, after map[string]int64) (changed, added []string) {
	for k, n := range before {
		if now, ok := after[k]; !ok || now != n {
			changed = append(changed, k)
		}
	}
	for k := range after {
		if _, ok := before[k]; !ok {
			added = append(added, k)
		}
	}
	slices.Sort(changed)
	slices.Sort(added)
	return changed, added
}

// outcome is what a statement did.
type outcome struct {
	changed  []string // keys of rows that are changed or gone
	added    []string
	affected int64 // as the server counts
}

// companionError is an error of a companion, not of the statement.
type companionError struct{ err error }

func (e *companionError) Error() string { return "run companion: " + e.err.Error() }
func (e *companionError) Unwrap() error { return e.err }

// both runs the companions and then the statement in one transaction, and rolls
// back.
func (s *session) both(ctx context.Context, all []companion, stmt generated) (captured []string, o outcome, err error) {
	tx, err := s.conn.BeginTx(ctx, nil)
	if err != nil {
		return nil, outcome{}, fmt.Errorf("begin: %w", err)
	}
	defer tx.Rollback()
	keys := map[string]bool{}
	for _, c := range all {
		if err := c.run(ctx, tx, keys); err != nil {
			return nil, outcome{}, &companionError{err}
		}
	}
	captured = slices.Sorted(maps.Keys(keys))
	if o.affected, err = execute(ctx, tx, stmt); err != nil {
		return nil, outcome{}, err
	}
	after, err := s.snapshot(ctx, tx)
	if err != nil {
		return nil, outcome{}, err
	}
	o.changed, o.added = difference(s.base, after)
	return captured, o, nil
}

// accepted tells whether the statement alone is an error.
func (s *session) accepted(ctx context.Context, stmt generated) error {
	_, _, err := s.both(ctx, nil, stmt)
	return err
}

// run adds the keys that a companion finds.
func (c companion) run(ctx context.Context, q querier, keys map[string]bool) error {
	rows, err := q.QueryContext(ctx, c.query, c.args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	values := make([]sql.NullString, len(c.table.key))
	into := make([]any, len(values))
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		if !values[0].Valid { // what an outer join does not have
			continue
		}
		var key []string
		for _, v := range values {
			key = append(key, v.String)
		}
		keys[joinKey(c.table, key)] = true
	}
	return rows.Err()
}

// execute runs the user's text unchanged and gives the number of rows it wrote.
func execute(ctx context.Context, tx *sql.Tx, stmt generated) (int64, error) {
	if !stmt.rows {
		res, err := tx.ExecContext(ctx, stmt.text, stmt.args...)
		if err != nil {
			return 0, err
		}
		return res.RowsAffected()
	}
	rows, err := tx.QueryContext(ctx, stmt.text, stmt.args...)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	var n int64
	for rows.Next() {
		n++
	}
	return n, rows.Err()
}

func asRefusal(err error) (*sqltext.Refusal, bool) {
	var r *sqltext.Refusal
	return r, errors.As(err, &r)
}
