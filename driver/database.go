package driver

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// Database is what the parts of this module that keep tables of their own beside the undo
// log (gtx/tcc, natsbus/outbox) need to know of a *sql.DB. Safe for concurrent use.
type Database struct {
	s *service
}

// DatabaseOf gives the Database of db, which a driver of this module must have opened.
func DatabaseOf(db *sql.DB) (Database, error) {
	d, ok := db.Driver().(*counted)
	switch {
	case !ok:
		return Database{}, errors.New("the database was not opened by a driver of this module: use a name that begins with gtx-, or driver.Wrap")
	case d.phase2.refuse != nil:
		return Database{}, d.phase2.refuse
	}
	return Database{d.phase2}, nil
}

// Dialect writes its SQL.
func (d Database) Dialect() undo.Dialect { return d.s.dialect }

// Logger is that of the DSN, or of the connector's Config.
func (d Database) Logger() *slog.Logger { return d.s.set.logger }

// Enter makes the tables of the undo log where they are missing, and gives the identity of
// the database. Phase two of the database is served with c from then on.
func (d Database) Enter(ctx context.Context, c gtx.Coordinator) (gtx.ResourceID, error) {
	id, err := d.s.enterWith(ctx, c)
	if err != nil {
		return "", fmt.Errorf("enter database: %w", err)
	}
	return id, nil
}

// Identity gives what Enter has found, or reads it: "" where the database has none yet.
// It makes nothing.
func (d Database) Identity(ctx context.Context) (gtx.ResourceID, error) {
	if id := d.s.identity(); id != "" {
		return id, nil
	}
	return d.s.resolver.Identity(ctx)
}

// Held gives the SQL expression for the XID of the undecided global transaction that holds
// a row of table, NULL where none does; ref is how the statement that it stands in calls
// the table. table must exist, "schema.name" or "name". It is one look-up by primary key,
// of what the statement's own snapshot shows.
//
// Branches with undo rows only (mode AT): a row of a prepared branch cannot be seen.
func (d Database) Held(ctx context.Context, table, ref string) (string, error) {
	dialect, ok := d.s.dialect.(proxy.Dialect)
	if !ok {
		return "", fmt.Errorf("look for holders of rows of %s: dialect %s does not capture", table, d.s.dialect.Name())
	}
	name := sqltext.Name{Table: table}
	if schema, rest, ok := strings.Cut(table, "."); ok {
		name = sqltext.Name{Schema: schema, Table: rest}
	}
	q := undo.QueryDB(d.s.db)
	id, err := dialect.Resolve(ctx, q, name)
	if err != nil {
		return "", fmt.Errorf("look for table %s: %w", table, err)
	}
	t, err := dialect.Table(ctx, q, id)
	if err != nil {
		return "", fmt.Errorf("read columns of table %s: %w", table, err)
	}
	return dialect.Held(t, ref, gtx.XID{}), nil
}
