package pgsql

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/globaltx/globaltx/undo"
)

// Classify sorts err by its SQLSTATE, of lib/pq or of any other driver whose
// errors have the method SQLState, and by what a broken connection leaves.
func (d Dialect) Classify(err error) undo.ErrorClass {
	if err == nil {
		return undo.Other
	}
	var state interface{ SQLState() string }
	if errors.As(err, &state) {
		return classOf(state.SQLState())
	}
	if d.base.Lost != nil && d.base.Lost(err) {
		return undo.Lost
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return undo.Other // the base driver has asked the server to cancel
	}
	var op net.Error
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.As(err, &op) {
		return undo.Lost
	}
	return undo.Other
}

// users tells that an error is the answer to the user's part of a statement, as
// the base driver would give it: an error of the server that leaves the session
// in its transaction, not about a table of this module, and not one that the
// whole transaction must be tried again for.
func (d Dialect) users(err error) bool {
	var state interface{ SQLState() string }
	if !errors.As(err, &state) {
		return false
	}
	class := d.Classify(err)
	fatal := strings.HasPrefix(state.SQLState(), "57P") || strings.HasPrefix(state.SQLState(), "XX")
	return class != undo.Conflict && class != undo.Lost && !fatal && !strings.Contains(err.Error(), "gtx_")
}

// classOf reads appendix A of the PostgreSQL manual.
func classOf(state string) undo.ErrorClass {
	switch state {
	case "23505", "23P01": // unique_violation, exclusion_violation: a value that another row has
		return undo.Duplicate
	case "40001", "40P01", "55P03", guardState: // serialization_failure, deadlock_detected, lock_not_available
		return undo.Conflict
	case "42P01": // undefined_table
		return undo.NoTable
	case "23000", "23001", "23502", "23503", "23514": // restrict, not_null, foreign_key, check
		return undo.Blocked
	case "42501": // insufficient_privilege
		return undo.Denied
	case "57P01", "57P02", "57P03", "57P05": // shutdown, crash, not yet up, idle session ended
		return undo.Lost
	case "25P03", "25P04": // idle_in_transaction_session_timeout, transaction_timeout
		return undo.Lost
	}
	if strings.HasPrefix(state, "22") { // data_exception: a type takes the value no more
		return undo.Blocked
	}
	if strings.HasPrefix(state, "08") { // connection_exception
		return undo.Lost
	}
	return undo.Other
}

// structural tells that an error of the server is of the kind that a change of a
// table brings about: a name or a type is not what it was.
func structural(err error) bool {
	var state interface{ SQLState() string }
	return errors.As(err, &state) && strings.HasPrefix(state.SQLState(), "42")
}

// gone tells that a column does not exist which only the part of this module names.
func (t *text) gone(err error, user string) bool {
	var state interface{ SQLState() string }
	if !errors.As(err, &state) || state.SQLState() != "42703" { // undefined_column
		return false
	}
	return slices.ContainsFunc(t.parts, func(w *writer) bool {
		return slices.ContainsFunc(w.Table.Columns, func(c undo.Column) bool {
			return strings.Contains(err.Error(), "."+c.Name+" ") && !mentions(user, c.Name)
		})
	})
}
