package undo

import (
	"context"

	"github.com/globaltx/globaltx/gtx"
)

// Op is the kind of change that an undo row undoes. The letters are stored: do
// not change.
type Op string

const (
	Insert Op = "I" // undone by deleting the row
	Update Op = "U" // undone by writing the before image
	Delete Op = "D" // undone by inserting the before image
)

// Row is the head of one row of gtx_undo. The images stay in the database:
// restoring and comparing happen in SQL (see Dialect), so their encoding is the
// dialect's own.
type Row struct {
	Table       string // Table.ID
	KeyHash     string // with Table the primary key, and so the global lock
	XID         gtx.XID
	Branch      gtx.BranchID
	Seq         int64 // order inside the branch, ascending
	Op          Op
	Fingerprint string // Table.Fingerprint at capture
}

// Table is what capture and restore know of a user's table.
type Table struct {
	// ID names the table inside its database, in one spelling only; it is what
	// gtx_undo.tbl holds. The dialect chooses it and can read it back.
	ID string
	// Name is the quoted name, qualified, ready to stand in a statement.
	Name    string
	Columns []Column
	// Key holds the indexes into Columns of the primary key, in key order.
	Key []int
	// Fingerprint changes whenever an image taken before no longer fits.
	Fingerprint string
	// Attr is for the dialect alone (version of the server).
	Attr string
}

// Column of a Table, in table order.
type Column struct {
	Name string // unquoted
	// Type in the words of the server's catalogue ("bigint unsigned").
	Type string
	// Generated columns are computed by the server: never written.
	Generated bool
	// Auto: the server makes a value when none is given (auto_increment,
	// identity, serial, rowid).
	Auto bool
	// Attr is for the dialect alone (collation, character set, identity kind).
	Attr string
}

// Query runs a query whose columns are all read as text, NULL as "". It serves
// catalogue look-ups on whatever connection the caller has.
type Query func(ctx context.Context, query string, args ...any) ([][]string, error)

// Statement is a text with its arguments.
type Statement struct {
	Text string
	Args []any
}

// ErrorClass sorts the errors of a base driver.
type ErrorClass uint8

const (
	Other     ErrorClass = iota
	Duplicate            // unique key exists
	Conflict             // deadlock, serialization failure, lock wait timeout, busy: try again after ROLLBACK
	NoTable              // a table does not exist
	Denied               // a privilege is missing
	Lost                 // the connection broke: what was sent may or may not have run
	Blocked              // the row is refused: foreign key, check, exclusion, NOT NULL, a value that its type does not take
)

// Bulk is how several rows of one table with one Op are restored at once. An empty
// text where the database has no such statement.
type Bulk struct {
	// Lock locks the data rows, those that exist (rule W1). The undo rows are locked
	// by the resolver.
	Lock Statement
	// Restore is Dialect.Restore for all of them: it writes the before image over each
	// row that equals its after image.
	Restore Statement
	// Restored is a query with one number: how many of the rows equal their before
	// image (for Insert: do not exist).
	Restored Statement

	// The others are for Op Update, where rows of the set stand in each other's way.

	// TakeOut deletes the rows that equal their after image and not their before image,
	// and whose before image PutBack can write.
	TakeOut Statement
	// PutBack inserts the before images of the rows that do not exist.
	PutBack Statement
	// Exchange is TakeOut and PutBack in one statement, whose foreign keys are
	// checked at its end.
	Exchange Statement
}

// Dialect is the port to one family of databases for phase two and for the
// tables of this module. It holds no state and is safe for concurrent use.
// Statements of the resolver run on a connection prepared with Session, at READ
// COMMITTED (rule T6), where affected rows count matched rows.
type Dialect interface {
	// Name is "mysql", "postgres" or "sqlite".
	Name() string

	// Schema gives the DDL of gtx_resource, gtx_branch, gtx_undo and gtx_operator,
	// statements that may run again and concurrently (IF NOT EXISTS).
	Schema() []string

	// Placeholder gives the n-th parameter marker, from 1.
	Placeholder(n int) string

	// Session gives the statements that make a connection fit for restoring
	// exact values.
	Session() []string

	// Classify sorts err, which may be wrapped.
	Classify(err error) ErrorClass

	// Refusal says which constraint an error of class Duplicate or Blocked is about,
	// without any value of a row: it is logged.
	Refusal(err error) string

	// Table reads the catalogue for id (Table.ID), or gtx.ErrUnsupported with the
	// reason why rows of this table cannot be protected.
	Table(ctx context.Context, q Query, id string) (*Table, error)

	// Lock locks the data row that r protects, if it exists, and then its undo row
	// (rule W1). An empty text where the database locks as a whole.
	Lock(t *Table, r *Row) []Statement

	// IsBefore is a query with one number: 1 when the data row equals the before
	// image (for Insert: does not exist), else 0.
	IsBefore(t *Table, r *Row) Statement

	// Restore writes the before image over a data row that equals the after image
	// (for Delete: that does not exist), else it affects no row. The comparison
	// is part of the statement.
	Restore(t *Table, r *Row) Statement

	// Bulk gives the statements for rows, at least one, that all have the Table of t
	// and the same Op.
	Bulk(t *Table, rows []Row) Bulk

	// Show is a query with one line of six columns, no line when the undo row is
	// gone: whether the data row exists, whether it (or its absence) is what the
	// XID left, whether it is what was before, each 1 or 0; and the key, the before
	// image and the row now as JSON arrays of texts for people, null for NULL. The
	// key follows Table.Key, the others the columns that are not Generated. NULL
	// instead of an array: no such row.
	Show(t *Table, r *Row) Statement

	// Force writes the before image whatever stands there now. IsBefore tells
	// afterwards whether it does.
	Force(t *Table, r *Row) []Statement
}
