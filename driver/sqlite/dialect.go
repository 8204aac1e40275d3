package sqlite

import (
	"context"
	"database/sql/driver"

	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// Dialect is SQLite as modernc.org/sqlite speaks it. The zero value is ready.
//
// A local transaction begins with BEGIN IMMEDIATE: it holds the database's only
// write lock from its first statement on. So a row that capture has read cannot
// change before its undo row is written, and rule T1's order of locks needs no
// statements of its own.
type Dialect struct{}

var (
	_ undo.Dialect  = Dialect{}
	_ proxy.Dialect = Dialect{}
)

// Name is "sqlite".
func (Dialect) Name() string { return "sqlite" }

// Schema gives the tables of this module. They are WITHOUT ROWID because inserts
// into such tables leave the user's last_insert_rowid() alone.
func (Dialect) Schema() []string {
	return []string{
		`CREATE TABLE IF NOT EXISTS main.gtx_resource (
	one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
	id TEXT NOT NULL,
	version INTEGER NOT NULL
) WITHOUT ROWID`,
		`CREATE TABLE IF NOT EXISTS main.gtx_branch (
	xid TEXT NOT NULL,
	branch INTEGER NOT NULL,
	mode INTEGER NOT NULL,
	state INTEGER NOT NULL,
	payload BLOB,
	created INTEGER NOT NULL,
	PRIMARY KEY (xid, branch)
) WITHOUT ROWID`,
		`CREATE TABLE IF NOT EXISTS main.gtx_undo (
	tbl TEXT NOT NULL,
	keyh TEXT NOT NULL,
	xid TEXT NOT NULL,
	branch INTEGER NOT NULL,
	seq INTEGER NOT NULL,
	op TEXT NOT NULL CHECK (op IN ('I', 'U', 'D')),
	before_img TEXT,
	after_img TEXT,
	schema_fp TEXT NOT NULL,
	PRIMARY KEY (tbl, keyh)
) WITHOUT ROWID`,
		`CREATE INDEX IF NOT EXISTS main.gtx_undo_xid ON gtx_undo (xid)`,
		`CREATE TABLE IF NOT EXISTS main.gtx_operator (
	at INTEGER NOT NULL,
	who TEXT NOT NULL,
	xid TEXT NOT NULL,
	tbl TEXT NOT NULL,
	keyh TEXT NOT NULL,
	action TEXT NOT NULL,
	reason TEXT NOT NULL,
	PRIMARY KEY (xid, at, tbl, keyh)
) WITHOUT ROWID`,
	}
}

// Placeholder is "?" for every n.
func (Dialect) Placeholder(int) string { return "?" }

// Session needs nothing: images are read and written by expressions that no
// setting of a connection changes.
func (Dialect) Session() []string { return nil }

// Inspect finds nothing to ask: no setting changes how SQLite reads text.
func (Dialect) Inspect(context.Context, driver.Conn) (sqltext.Dialect, sqltext.Mode, error) {
	return sqltext.SQLite, sqltext.Mode{}, nil
}

// LazyBegin is true: BEGIN is a statement like any other.
func (Dialect) LazyBegin() bool { return true }

// Commit is COMMIT, which SQLite refuses when there is nothing to commit.
func (Dialect) Commit() string { return "COMMIT" }

// Begin takes the write lock at once. A later upgrade could fail with
// SQLITE_BUSY_SNAPSHOT in the middle of the transaction. The isolation level is
// of no importance: SQLite is serializable.
func (Dialect) Begin(opts driver.TxOptions) (string, error) {
	if opts.ReadOnly {
		return "BEGIN", nil
	}
	return "BEGIN IMMEDIATE", nil
}
