package driver

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

// newLook opens the connections for proxy.Config.Look. They are not those of
// phase two, which may wait for the very rows that a look is about.
func newLook(c driver.Connector) *sql.DB {
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(4)
	db.SetMaxIdleConns(2)
	db.SetConnMaxIdleTime(time.Minute)
	return db
}

// freshly runs each query in a local transaction of its own, so that it sees
// what has committed by now, also where the DSN turns autocommit off.
func freshly(db *sql.DB) undo.Query {
	return func(ctx context.Context, query string, args ...any) ([][]string, error) {
		conn, err := db.Conn(ctx)
		if err != nil {
			return nil, fmt.Errorf("open connection for a look: %w", err)
		}
		lines, err := undo.QueryDB(conn)(ctx, query, args...)
		if err == nil {
			// Ends the snapshot where there is still one.
			_, err = conn.ExecContext(ctx, "COMMIT")
		}
		return lines, errors.Join(err, conn.Close())
	}
}

// present tells whether the tables of this module are there. It makes none
// (proxy.Config.Present).
func (s *service) present(ctx context.Context) (bool, error) {
	if s.refuse != nil {
		return false, nil // no global transaction could ever be here
	}
	if s.identity() != "" {
		return true, nil
	}
	var id string
	switch err := s.db.QueryRowContext(ctx, "SELECT id FROM gtx_resource").Scan(&id); {
	case s.dialect.Classify(err) == undo.NoTable, errors.Is(err, sql.ErrNoRows):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("look for the tables of global transactions: %w", err)
	}
	s.found(gtx.ResourceID(id))
	return true, nil
}
