package proxy

import (
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

// form is a form of statement that sqltext understands and capture does not
// write undo rows for. What depends on the table or the server's version is
// refused by the dialect.
type form struct {
	code, reason, hint string
	is                 func(*sqltext.Statement) bool
}

// notCaptured are asked in this order; the first that is tells the user.
var notCaptured = []form{
	{"with", "MariaDB has no WITH list in front of UPDATE and DELETE", "use subqueries in WHERE and SET", func(s *sqltext.Statement) bool {
		return s.Dialect == sqltext.MariaDB && s.Kind != sqltext.Select && some(s.With)
	}},
	{"ignore", "UPDATE IGNORE and DELETE IGNORE of MySQL hide rows that were not changed", "remove IGNORE and handle the error", func(s *sqltext.Statement) bool {
		return s.Or == sqltext.OrIgnore && s.Kind != sqltext.Insert && s.Dialect != sqltext.SQLite
	}},
	{"or-rollback", "OR ROLLBACK ends the local transaction", "remove it and roll back in the program", func(s *sqltext.Statement) bool {
		return s.Or == sqltext.OrRollback
	}},
	{"returning", "RETURNING of a REPLACE of MariaDB is not captured", "read the rows with SELECT", func(s *sqltext.Statement) bool {
		return s.Dialect == sqltext.MariaDB && s.Replace && some(s.Returning)
	}},
}

// Supported refuses a statement that is understood but not captured, with a
// *gtx.UnsupportedError.
func Supported(s *sqltext.Statement) error {
	for _, f := range notCaptured {
		if f.is(s) {
			return &gtx.UnsupportedError{Code: f.code, Reason: f.reason, Hint: f.hint}
		}
	}
	for _, part := range s.Parts {
		if err := Supported(part); err != nil {
			return err
		}
	}
	return nil
}

// NotCaptured lists what Supported refuses. The codes are stable.
func NotCaptured() []gtx.UnsupportedError {
	all := make([]gtx.UnsupportedError, len(notCaptured))
	for i, f := range notCaptured {
		all[i] = gtx.UnsupportedError{Code: f.code, Reason: f.reason, Hint: f.hint}
	}
	return all
}

// Reads tells whether a statement runs unchanged on the base connection.
func Reads(s *sqltext.Statement) bool {
	return s.Kind == sqltext.Select && !Writes(s) || s.Kind == sqltext.Show || s.Kind == sqltext.Explain
}

func some(sp sqltext.Span) bool { return sp.End > sp.Start }
