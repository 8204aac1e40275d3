package undo

import (
	"context"
	"database/sql"
)

// Guarder is the port for guards. A guard makes the database itself refuse a write
// to a row that an undecided global transaction holds, whoever sends it: rule W6
// for those who do not come through the wrapped driver, and against a writer who
// leaves exactly the after image (ABA), which no comparison sees. It consists of
// triggers on the user's table, which look for the undo row of the key once the
// writer has locked the row, so that no holder can come or go unseen.
//
// Capture and phase two mark what they write and are let through. Nothing else
// depends on guards: without one a dirty row is found when it is restored (rule
// P3).
//
// A guard is an agreement, not a defence: whoever sets the marker, turns triggers
// off or changes the table's definition gets past it.
type Guarder interface {
	// Guards reads the guard of the table with this ID, or all guards where id is
	// empty: those that this user may see. A table without one is not listed.
	Guards(ctx context.Context, q Query, id string) ([]Guard, error)

	// InstallGuard gives the table a guard, or replaces one that does not fit. It
	// changes nothing where the guard is there, and may run several times at once.
	// It waits 10 s at most for those who are writing to the table. A
	// gtx.UnsupportedError says why the table cannot have one.
	InstallGuard(ctx context.Context, c *sql.Conn, id string) error

	// RemoveGuard takes the guard of a table away; nil where there is none.
	RemoveGuard(ctx context.Context, c *sql.Conn, id string) error
}

// Guard is the guard of one table.
type Guard struct {
	ID    string // Table.ID
	Name  string // ShowName
	State GuardState
	// Reason says what is wrong, "" for Guarded.
	Reason string
}

// GuardState tells what a guard is worth.
type GuardState string

const (
	// Guarded: it is what InstallGuard would install.
	Guarded GuardState = "guarded"
	// GuardPartial: some triggers are missing or turned off. Statements of global
	// transactions run.
	GuardPartial GuardState = "partial"
	// GuardStale: a trigger is not the one that InstallGuard would install, because
	// the primary key or the name of the table has changed, or by hand. Statements of
	// global transactions on the table are refused, since nobody knows what it does.
	GuardStale GuardState = "stale"
)

// Codes of the gtx.UnsupportedError about guards.
const (
	CodeGuardStale   = "guard-stale"
	CodeGuardForeign = "guard-foreign"
)
