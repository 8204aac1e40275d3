package sqlite

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

// Classify sorts errors by SQLite's result code.
func (Dialect) Classify(err error) undo.ErrorClass {
	if errors.Is(err, driver.ErrBadConn) {
		return undo.Lost
	}
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return undo.Other
	}
	switch e.Code() {
	case lib.SQLITE_CONSTRAINT_PRIMARYKEY, lib.SQLITE_CONSTRAINT_UNIQUE, lib.SQLITE_CONSTRAINT_ROWID:
		return undo.Duplicate
	}
	switch e.Code() & 0xff {
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED, lib.SQLITE_PROTOCOL, lib.SQLITE_SCHEMA:
		return undo.Conflict
	case lib.SQLITE_CONSTRAINT:
		return undo.Blocked
	case lib.SQLITE_READONLY, lib.SQLITE_AUTH, lib.SQLITE_PERM:
		return undo.Denied
	case lib.SQLITE_IOERR, lib.SQLITE_CANTOPEN, lib.SQLITE_NOTADB, lib.SQLITE_CORRUPT:
		return undo.Lost
	case lib.SQLITE_ERROR:
		// The only trace of a missing table is the message.
		if strings.Contains(e.Error(), "no such table") {
			return undo.NoTable
		}
	}
	return undo.Other
}

// constraint tells whether err is a constraint that a row broke.
func constraint(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == lib.SQLITE_CONSTRAINT
}

// wrap adds what was being done, and gtx.ErrConflict where trying again helps.
func wrap(what string, err error) error {
	if (Dialect{}).Classify(err) == undo.Conflict {
		return fmt.Errorf("%s: %w (%w)", what, err, gtx.ErrConflict)
	}
	return fmt.Errorf("%s: %w", what, err)
}
