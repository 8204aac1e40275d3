package proxy

import (
	"context"
	"database/sql/driver"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// Dialect is the port to one family of databases for phase one. It holds no
// state of a connection and is safe for concurrent use.
type Dialect interface {
	undo.Dialect
	Reading

	// Inspect learns, with at most one round trip, the flavour of the server and
	// the modes of the session that change how text is read and captured. It returns gtx.ErrUnsupported when the
	// session cannot be captured faithfully. Called before the first captured
	// statement of a connection, and again when a statement or Unwrap may have changed
	// the session.
	Inspect(ctx context.Context, c driver.Conn) (sqltext.Dialect, sqltext.Mode, error)

	// Resolve turns the target that a statement names into a Table.ID, asking q
	// for the current schema where the name is not qualified.
	Resolve(ctx context.Context, q undo.Query, target sqltext.Name) (id string, err error)

	// LazyBegin tells that Capture can carry BEGIN in its own packet. Otherwise
	// the local transaction has been begun through the base driver before.
	LazyBegin() bool

	// Begin gives the text that begins a local transaction, for LazyBegin.
	Begin(opts driver.TxOptions) (string, error)

	// Commit gives the text that commits the local transaction of a branch, for
	// LazyBegin. It fails when none is open.
	Commit() string

	// Capture runs one INSERT, UPDATE or DELETE and, in the same local
	// transaction and atomically with it, writes the header if it is due and the
	// undo rows. On an error the caller rolls the local transaction back.
	//
	// The error wraps gtx.ErrConflict when another XID holds a row, or when
	// undo.Conflict is the class of the server's error; gtx.ErrDirty when a row of
	// the own XID no longer equals its after image (rule T4);
	// gtx.ErrUnsupported when the statement was refused before it ran.
	Capture(ctx context.Context, c driver.Conn, r *Capture) (*Captured, error)
}

// Passing is a Dialect whose base driver may prepare what it is given and keep it.
type Passing interface {
	// Passing gives the arguments with which a text runs once and nothing of it is
	// kept. users tells that arguments or rows are the user's: they must be coded as
	// those of a text that is kept.
	Passing(args []driver.NamedValue, users bool) []driver.NamedValue

	// QueriesOne tells that the base driver's Query takes one statement, or shows the
	// first result of several only.
	QueriesOne() bool
}

// Relocating is a Dialect whose server tells where in a text an error is.
type Relocating interface {
	// Relocate gives err, which the server gave for the text sent, as it would have
	// given it for text: at gives for an offset in bytes in sent that in text, -1 for one
	// that has none there. err itself stays as it is.
	Relocate(err error, sent, text string, at func(offset int) int) error
}

// Capture is one statement to run with its capture.
type Capture struct {
	XID    gtx.XID
	Branch gtx.BranchID
	// Header says that the row of gtx_branch is not there yet: Capture inserts it
	// before anything else (rule T1).
	Header bool
	// Begin, when not empty, is the text that must run before everything else.
	Begin string
	// Seq is the number for the undo rows of this statement; all rows of one
	// statement may share it.
	Seq int64

	Table  *undo.Table   // of Stmt's target, nil for a savepoint, and for a query that writes in Members
	Tables []*undo.Table // of each of Stmt.Targets, in their order
	// Members are the tables of the members of Stmt.CTEs that write, nil for one
	// that reads; nil where none writes.
	Members []*undo.Table
	Stmt    *sqltext.Statement // analysed text
	Args    []driver.NamedValue
	// WantRows: called through Query. Without RETURNING the rows are empty.
	WantRows bool
	// Described tells that the user has prepared the statement, or that his base driver
	// would have: it codes arguments by their types, or by those that the server gave.
	Described bool
	// Statements are those that the dialect keeps prepared on the connection; nil
	// where it should keep none.
	Statements *Statements

	// Kept is set by Capture together with an error: it is the user's own
	// statement that failed, as it does on the base driver, nothing of the capture
	// is left, and the local transaction is as the base driver leaves it. After
	// any other error it must be rolled back.
	Kept bool
	// Stale is set by Capture together with an error that may come from tables that
	// are not what the catalogue said when it was read.
	Stale bool
	// Wrote is set by Capture together with Kept: Header was due and is written.
	Wrote bool
}

// Captured is what the user's statement returned, as the bare driver would say.
type Captured struct {
	RowsAffected int64
	// Changed is how many changes of rows a Counter sees in the statement; -1 where
	// that is not known. Only a Dialect that is a Counter sets it.
	Changed int64
	// LastInsertID as the base driver reports it; LastInsertErr where it does not.
	LastInsertID  int64
	LastInsertErr error
	// Rows, for WantRows: never nil then.
	Rows driver.Rows
	// All is what each statement of a text with several gave; not set by Capture.
	All []Captured
}
