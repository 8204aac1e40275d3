package pgsql

import (
	"fmt"
	"slices"
	"strings"

	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// upsert captures ON CONFLICT DO UPDATE before version18: it locks the rows that
// have the keys of the conflict target and reads their images. The condition of
// DO UPDATE asks for them first, so that they are read before the first change.
// A row that was updated and not read has appeared after the statement's
// snapshot: the counts differ and the statement is tried again.
func (w *writer) upsert() ([]string, error) {
	s, p := w.Stmt, w.p
	up := s.Upserts[0]
	body, clause, err := insertBody(s)
	if err != nil {
		return nil, err
	}
	if w.rekeys(up.SetColumns) {
		return nil, w.old18("key-update", "ON CONFLICT DO UPDATE of a primary key", "leave the key out of SET")
	}
	if readAttr(w.Table).kind == "p" {
		return nil, w.old18("on-conflict", "ON CONFLICT DO UPDATE into a partitioned table", "name the partition")
	}
	same, err := w.arbiter(up)
	if err != nil {
		return nil, err
	}
	first := "(SELECT count(*) FROM " + p + "b) >= 0"
	conflict := w.line(clause) + " WHERE " + first
	if where := w.piece(up.Where); where != "" {
		conflict = w.piece(sqltext.Span{Start: up.Span.Start, End: up.Where.Start}) + first + " AND (" + where + "\n)"
	}
	hash, key, image, sum := w.images(w.ref)
	header := ""
	if w.Header {
		header = "(SELECT count(*) FROM " + w.head + ") = 1 AND "
	}
	w.rows = "q"
	w.captured = fmt.Sprintf("(SELECT count(*) FILTER (WHERE (%[1]so = 'U') = %[1]sv) FROM %[1]sq)", p)
	return []string{
		w.cte("b", "SELECT "+hash+" AS "+p+"h, "+image+" AS "+p+"i, "+sum+" AS "+p+"s FROM "+w.target+" WHERE "+header+same+" FOR NO KEY UPDATE OF "+w.ref),
		p + "u (" + w.names("h", "k", "a", "v") + ") AS (INSERT INTO " + w.target + w.line(body) + conflict +
			w.returningOf(hash, key, sum, w.ref+".xmax <> 0") + ")",
		w.cte("q", fmt.Sprintf("SELECT n.%[1]sh, CASE WHEN b.%[1]sh IS NULL THEN 'I' ELSE 'U' END AS %[1]so, COALESCE(b.%[1]si, n.%[1]sk) AS %[1]si,"+
			" b.%[1]ss, n.%[1]sa, n.%[1]sv FROM %[1]su AS n LEFT JOIN %[1]sb AS b ON b.%[1]sh = n.%[1]sh", p)),
		w.undo("x."+p+"o", "x."+p+"i", "x."+p+"s", "x."+p+"a", p+"q AS x"),
	}, nil
}

// arbiter gives the condition of the rows that the new ones may conflict with.
func (w *writer) arbiter(up sqltext.Upsert) (string, error) {
	s, t := w.Stmt, w.Table
	columns := targetColumns(s.Slice(up.Target))
	if columns == nil {
		return "", w.old18("on-conflict", "ON CONFLICT DO UPDATE with a target that is not a list of columns", "name the columns of the unique index")
	}
	list := s.Columns
	if list == nil && readAttr(t).partition() {
		return "", w.old18("on-conflict", "ON CONFLICT DO UPDATE into a partition without a list of columns", "name the columns")
	}
	if list == nil {
		for _, c := range t.Columns {
			list = append(list, c.Name)
		}
	}
	var refs, types []string
	var at []int
	for _, name := range columns {
		i := slices.Index(list, name)
		c := slices.IndexFunc(t.Columns, func(c undo.Column) bool { return c.Name == name })
		if i < 0 || c < 0 {
			return "", w.old18("on-conflict", fmt.Sprintf("ON CONFLICT DO UPDATE without a value for %q", name), "give the value")
		}
		refs = append(refs, w.ref+"."+ident(name))
		types = append(types, t.Columns[c].Type)
		at = append(at, i)
	}
	cast := func(value string, i int) string { return "CAST(" + value + " AS " + types[i] + ")" }
	var found string
	if s.Source == sqltext.SourceQuery {
		if err := w.readTwice(s.Slice(s.Query)); err != nil {
			return "", err
		}
		var names, keys []string
		for i := range slices.Max(at) + 1 {
			names = append(names, fmt.Sprintf("%sc%d", w.p, i))
		}
		if s.Columns != nil {
			for i := len(names); i < len(list); i++ {
				names = append(names, fmt.Sprintf("%sc%d", w.p, i))
			}
		}
		for i, n := range at {
			keys = append(keys, cast(w.p+"v."+names[n], i))
		}
		found = "SELECT " + strings.Join(keys, ", ") + " FROM (" + w.line(s.Query) + ") AS " + w.p + "v (" + strings.Join(names, ", ") + ")"
	} else {
		var rows []string
		for _, row := range s.Rows {
			var keys []string
			for i, n := range at {
				if n >= len(row) || row[n].Kind == sqltext.ValueDefault {
					return "", w.old18("on-conflict", fmt.Sprintf("ON CONFLICT DO UPDATE without a value for %q", columns[i]), "give the value")
				}
				if err := w.readTwice(s.Slice(row[n].Span)); err != nil {
					return "", err
				}
				keys = append(keys, cast("("+w.line(row[n].Span)+")", i))
			}
			rows = append(rows, "("+strings.Join(keys, ", ")+")")
		}
		if len(rows) == 0 {
			return "", w.old18("on-conflict", "ON CONFLICT DO UPDATE of DEFAULT VALUES", "give the values")
		}
		found = strings.Join(rows, ", ")
	}
	return "(" + strings.Join(refs, ", ") + ") IN (" + found + ")", nil
}

// targetColumns reads "(a, b)"; nil for everything else.
func targetColumns(text string) []string {
	i := skipBlank(text, 0)
	if i >= len(text) || text[i] != '(' {
		return nil
	}
	var names []string
	for {
		i = skipBlank(text, i+1)
		if i >= len(text) {
			return nil
		}
		n := token(text[i:])
		if n == 0 {
			return nil
		}
		word := text[i : i+n]
		switch {
		case word[0] == '"':
			word = strings.ReplaceAll(word[1:n-1], `""`, `"`)
		case wordByte(word[0]) && !strings.ContainsFunc(word, func(r rune) bool { return r >= 0x80 }):
			word = strings.ToLower(word)
		default:
			return nil
		}
		names = append(names, word)
		i = skipBlank(text, i+n)
		if i >= len(text) || text[i] != ',' && text[i] != ')' {
			return nil
		}
		if text[i] == ')' {
			if skipBlank(text, i+1) != len(text) {
				return nil
			}
			return names
		}
	}
}
