package driver

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

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

// present tells whether the tables of this module are there, and starts phase two
// where they are. It makes none (proxy.Config.Present).
func (s *service) present(ctx context.Context) (bool, error) {
	if s.refuse != nil {
		return false, nil // no global transaction could ever be here
	}
	if s.identity() != "" {
		return true, nil
	}
	id, err := s.resolver.Identity(ctx)
	if err != nil {
		return false, fmt.Errorf("look for the tables of global transactions: %w", err)
	}
	if id == "" {
		return false, nil
	}
	s.found(id)
	return true, nil
}
