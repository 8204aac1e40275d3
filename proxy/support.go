package proxy

import (
	"slices"

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
	{"several-statements", "the text holds several statements", "send them one by one", func(s *sqltext.Statement) bool {
		return s.Kind == sqltext.Several
	}},
	{"cte-write", "a WITH list that writes is not captured", "send the statements one by one", func(s *sqltext.Statement) bool {
		return slices.ContainsFunc(s.CTEs, func(c sqltext.CTE) bool { return c.Write != nil })
	}},
	{"with", "a WITH list in front of a statement that writes is not captured on MariaDB", "use subqueries in WHERE and SET", func(s *sqltext.Statement) bool {
		return s.Dialect == sqltext.MariaDB && s.Kind != sqltext.Select && some(s.With)
	}},
	{"insert-select", "INSERT ... SELECT is not captured on MySQL and MariaDB", "read the rows and insert them with VALUES", func(s *sqltext.Statement) bool {
		return s.Source == sqltext.SourceQuery && (s.Dialect == sqltext.MySQL || s.Dialect == sqltext.MariaDB)
	}},
	{"ignore", "UPDATE IGNORE and DELETE IGNORE of MySQL hide rows that were not changed", "remove IGNORE and handle the error", func(s *sqltext.Statement) bool {
		return s.Or == sqltext.OrIgnore && s.Kind != sqltext.Insert && s.Dialect != sqltext.SQLite
	}},
	{"or-rollback", "OR ROLLBACK ends the local transaction", "remove it and roll back in the program", func(s *sqltext.Statement) bool {
		return s.Or == sqltext.OrRollback
	}},
	{"returning", "RETURNING of MariaDB is not captured", "read the row with SELECT", func(s *sqltext.Statement) bool {
		return s.Dialect == sqltext.MariaDB && some(s.Returning)
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
	return s.Kind == sqltext.Select || s.Kind == sqltext.Show || s.Kind == sqltext.Explain
}

func some(sp sqltext.Span) bool { return sp.End > sp.Start }
