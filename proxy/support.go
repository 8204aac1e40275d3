package proxy

import (
	"slices"
	"strings"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

// form is a form of statement that sqltext understands and capture does not
// write undo rows for, but in the dialects of capturedBy.
type form struct {
	code, reason, hint string
	is                 func(*sqltext.Statement) bool
}

// capturedBy lists, by code, the dialects whose capture knows the form.
var capturedBy = map[string][]sqltext.Dialect{}

// notCaptured are asked in this order; the first that is tells the user.
var notCaptured = []form{
	{"several-statements", "the text holds several statements", "send them one by one", kind(sqltext.Several)},
	{"savepoint", "savepoints are not followed", "end the local transaction instead", func(s *sqltext.Statement) bool {
		return s.Kind == sqltext.Savepoint || s.Kind == sqltext.RollbackTo || s.Kind == sqltext.Release
	}},
	{"merge", "MERGE is not captured", "use UPDATE, INSERT and DELETE", kind(sqltext.Merge)},
	{"cte-write", "a WITH list that writes is not captured", "send the statements one by one", func(s *sqltext.Statement) bool {
		for _, c := range s.CTEs {
			if c.Write != nil {
				return true
			}
		}
		return false
	}},
	{"with", "a WITH list in front of a statement that writes is not captured", "use subqueries in WHERE and SET", func(s *sqltext.Statement) bool {
		return s.Kind != sqltext.Select && some(s.With)
	}},
	{"replace", "REPLACE deletes rows that are not captured", "use UPDATE, and INSERT when it changed nothing", func(s *sqltext.Statement) bool {
		return s.Or == sqltext.OrReplace
	}},
	{"ignore", "IGNORE hides rows that were not written", "remove it and handle the error", func(s *sqltext.Statement) bool {
		return s.Or == sqltext.OrIgnore
	}},
	{"or-conflict", "OR FAIL, OR ABORT and OR ROLLBACK are not captured", "remove it and handle the error", func(s *sqltext.Statement) bool {
		return s.Or != sqltext.OrFail
	}},
	{"several-tables", "the statement names several tables to change", "change one table at a time, the others in subqueries", func(s *sqltext.Statement) bool {
		return s.Multi
	}},
	{"update-from", "UPDATE ... FROM is not captured", "take the other table's values from subqueries", func(s *sqltext.Statement) bool {
		return s.Kind == sqltext.Update && some(s.From)
	}},
	{"delete-using", "DELETE ... USING is not captured", "select the rows with a subquery in WHERE", func(s *sqltext.Statement) bool {
		return s.Kind == sqltext.Delete && some(s.From)
	}},
	{"only", "ONLY is not captured", "name the table without it", target(func(t *sqltext.Table) bool { return t.Only })},
	{"partition", "PARTITION is not captured", "select the rows with WHERE", target(func(t *sqltext.Table) bool { return some(t.Partition) })},
	{"index-hint", "index hints are not captured", "remove the hint", target(func(t *sqltext.Table) bool { return some(t.IndexHint) })},
	{"order-by", "ORDER BY in a statement that writes is not captured", "select the keys first, then write by key", writes(func(s *sqltext.Statement) bool { return some(s.OrderBy) })},
	{"limit", "LIMIT in a statement that writes is not captured", "select the keys first, then write by key", writes(func(s *sqltext.Statement) bool { return some(s.Limit) })},
	{"insert-select", "INSERT ... SELECT is not captured", "read the rows and insert them with VALUES", source(sqltext.SourceQuery)},
	{"insert-set", "INSERT ... SET is not captured", "write INSERT INTO t (columns) VALUES (...)", source(sqltext.SourceSet)},
	{"default-values", "a row without a value is not captured", "name one column and give it DEFAULT", source(sqltext.SourceDefaults)},
	{"on-duplicate", "ON DUPLICATE KEY UPDATE is not captured", "use UPDATE, and INSERT when it changed nothing", upsert(true)},
	{"on-conflict", "ON CONFLICT is not captured", "use UPDATE, and INSERT when it changed nothing", upsert(false)},
	{"row-alias", "an alias for the new row is not captured", "remove it", func(s *sqltext.Statement) bool { return some(s.RowAlias) }},
	{"overriding", "OVERRIDING is not captured", "leave the generated column out or give its value", func(s *sqltext.Statement) bool { return some(s.Overriding) }},
	{"returning", "RETURNING of MariaDB is not captured", "read the row with SELECT", func(s *sqltext.Statement) bool {
		return s.Dialect == sqltext.MariaDB && some(s.Returning)
	}},
	{"returning-with", "RETURNING WITH (OLD, NEW) is not captured", "return plain columns", func(s *sqltext.Statement) bool {
		list := s.Slice(s.Returning)
		return len(list) > 4 && strings.EqualFold(list[:4], "with") && strings.IndexByte(" \t\r\n\f\v(/-", list[4]) >= 0
	}},
}

// Supported refuses a statement that is understood but not captured, with a
// *gtx.UnsupportedError.
func Supported(s *sqltext.Statement) error {
	for _, f := range notCaptured {
		if f.is(s) && !slices.Contains(capturedBy[f.code], s.Dialect) {
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

func kind(k sqltext.Kind) func(*sqltext.Statement) bool {
	return func(s *sqltext.Statement) bool { return s.Kind == k }
}

func source(from sqltext.Source) func(*sqltext.Statement) bool {
	return func(s *sqltext.Statement) bool { return s.Source == from }
}

func writes(is func(*sqltext.Statement) bool) func(*sqltext.Statement) bool {
	return func(s *sqltext.Statement) bool { return !Reads(s) && is(s) }
}

func target(is func(*sqltext.Table) bool) func(*sqltext.Statement) bool {
	return writes(func(s *sqltext.Statement) bool { return len(s.Targets) > 0 && is(s.Target()) })
}

func upsert(family bool) func(*sqltext.Statement) bool {
	return func(s *sqltext.Statement) bool {
		mysql := s.Dialect == sqltext.MySQL || s.Dialect == sqltext.MariaDB
		return len(s.Upserts) > 0 && mysql == family
	}
}
