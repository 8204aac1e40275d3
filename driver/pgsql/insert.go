package pgsql

import (
	"strings"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

// insert captures by RETURNING. ON CONFLICT DO NOTHING leaves rows out of it too.
func (w *writer) insert() ([]string, error) {
	body, conflict, err := insertBody(w.Stmt)
	if err != nil {
		return nil, err
	}
	p := w.p
	hash, key, _, sum := w.images(w.ref)
	return []string{
		p + "u (" + w.names("h", "k", "a") + ") AS (INSERT INTO " + w.target + w.line(body) + w.line(conflict) + w.returningOf(hash, key, sum) + ")",
		w.undo(opInsert, "x."+p+"k", "NULL", "x."+p+"a", p+"u AS x"),
	}, nil
}

// upsertModern captures by RETURNING OLD and NEW.
func (w *writer) upsertModern() ([]string, error) {
	body, conflict, err := insertBody(w.Stmt)
	if err != nil {
		return nil, err
	}
	w.nameRows()
	return w.pairs("INSERT INTO " + w.target + w.line(body) + w.line(conflict)), nil
}

// insertBody cuts an INSERT after its target: column list and source, and ON
// CONFLICT. It refuses anything else in front of RETURNING that it does not know.
func insertBody(s *sqltext.Statement) (body, conflict sqltext.Span, err error) {
	refuse := func(reason string) (body, conflict sqltext.Span, err error) {
		return body, conflict, &gtx.UnsupportedError{Code: "insert-form", Reason: reason, Hint: "use INSERT ... VALUES"}
	}
	start := max(s.Target().NameSpan.End, s.Target().AliasSpan.End)
	var end int
	switch s.Source {
	case sqltext.SourceQuery:
		end = s.Query.End
	case sqltext.SourceDefaults:
		end = start
		for _, want := range []string{"default", "values"} {
			end = skipBlank(s.Text, end)
			if len(s.Text)-end < len(want) || !strings.EqualFold(s.Text[end:end+len(want)], want) {
				return refuse("DEFAULT VALUES is not where it should be")
			}
			end += len(want)
		}
	default:
		if len(s.Rows) == 0 || len(s.Rows[len(s.Rows)-1]) == 0 {
			return refuse("the INSERT has no VALUES rows")
		}
		row := s.Rows[len(s.Rows)-1]
		end = skipBlank(s.Text, row[len(row)-1].Span.End)
		if end >= len(s.Text) || s.Text[end] != ')' {
			return refuse("the end of VALUES is not where it should be")
		}
		end++
	}
	body = sqltext.Span{Start: start, End: end}
	if !closed(s.Slice(body)) {
		return refuse("the rows end inside a string, a comment or brackets")
	}
	switch len(s.Upserts) {
	case 0:
	case 1:
		if skipBlank(s.Text, end) != s.Upserts[0].Span.Start {
			return refuse("something stands between the rows and ON CONFLICT")
		}
		conflict, end = s.Upserts[0].Span, s.Upserts[0].Span.End
	default:
		return refuse("there are several ON CONFLICT clauses")
	}
	limit := s.Span.End
	tail := skipBlank(s.Text, end)
	if s.Returning.Start < s.Returning.End {
		const word = "returning"
		if limit < tail+len(word) || !strings.EqualFold(s.Text[tail:tail+len(word)], word) ||
			tail+len(word) > s.Returning.Start || skipBlank(s.Text, tail+len(word)) != skipBlank(s.Text, s.Returning.Start) {
			return refuse("something stands in front of RETURNING")
		}
		tail = skipBlank(s.Text, s.Returning.End)
	}
	if tail < limit {
		return refuse("something follows the INSERT")
	}
	return body, conflict, nil
}
