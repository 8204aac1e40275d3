package pgsql

import (
	"fmt"
	"slices"
	"strings"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

// columnsOf gives the names of the columns that the RETURNING list of a member of
// WITH has. They stand behind columns of this module, so they must be known; the
// server names an expression by rules of its own, so it must have a name.
func (w *writer) columnsOf(member string) ([]string, error) {
	var names []string
	for _, item := range itemsOf(w.ret.list) {
		if star(item) {
			if !w.starOf(item[:len(item)-1]) {
				return nil, &gtx.UnsupportedError{
					Code: "cte-returning", Reason: fmt.Sprintf("the columns of %s in RETURNING of %q are not known", strings.Join(item, ""), member), Hint: "name the columns",
				}
			}
			for _, c := range w.Table.Columns {
				names = append(names, c.Name)
			}
			continue
		}
		name, ok := label(item)
		if !ok {
			return nil, &gtx.UnsupportedError{
				Code: "cte-returning", Reason: fmt.Sprintf("an expression in RETURNING of %q has no name", member), Hint: "give it a name with AS",
			}
		}
		names = append(names, name)
	}
	return names, nil
}

// itemsOf cuts a list at its commas, and each part into tokens without blanks and
// comments.
func itemsOf(list string) [][]string {
	var all [][]string
	var item []string
	depth := 0
	for i := skipBlank(list, 0); i < len(list); i = skipBlank(list, i) {
		n := token(list[i:])
		if n == 0 {
			n = len(list) - i
		}
		word := list[i : i+n]
		i += n
		switch word {
		case "(", "[":
			depth++
		case ")", "]":
			depth--
		case ",":
			if depth == 0 {
				all, item = append(all, item), nil
				continue
			}
		}
		item = append(item, word)
	}
	return append(all, item)
}

// star tells whether an item stands for several columns.
func star(item []string) bool {
	n := len(item)
	return n > 0 && item[n-1] == "*" && (n == 1 || item[n-2] == ".")
}

// starOf tells whether what stands in front of a star is the row of the table
// alone.
func (w *writer) starOf(prefix []string) bool {
	s := w.Stmt
	if readAttr(w.Table).partition() {
		return false // its columns may stand in another order
	}
	if len(prefix) == 0 {
		return w.Stmt.Kind == sqltext.Insert || s.Kind != sqltext.Merge && s.From.End == s.From.Start
	}
	if len(prefix) != 2 {
		return false
	}
	name, ok := fold(prefix[0])
	if !ok {
		return false
	}
	target := s.Target().Name.Table
	if s.Target().Alias != "" {
		target = s.Target().Alias
	}
	if name == target {
		return true
	}
	rows := []string{w.ret.old, w.ret.new}
	if version(w.Table) >= version18 {
		if w.ret.old == "" {
			rows = append(rows, "old")
		}
		if w.ret.new == "" {
			rows = append(rows, "new")
		}
	}
	return slices.ContainsFunc(rows, func(row string) bool {
		if row == "" {
			return false
		}
		given, ok := fold(row)
		return ok && given == name
	}) && !mentions(s.Slice(s.From), prefix[0])
}

// label gives the name of the column that an item is.
func label(item []string) (string, bool) {
	n := len(item)
	if n == 0 {
		return "", false
	}
	name, ok := fold(item[n-1])
	switch {
	case !ok:
		return "", false
	case n > 1 && strings.EqualFold(item[n-2], "as"):
		return name, true
	case n == 1 && item[0][0] != '"' && computed[name]:
		return "", false
	}
	for i, word := range item { // a, or t.a
		if i%2 == 1 && word != "." {
			return "", false
		}
		if _, ok := fold(word); i%2 == 0 && !ok {
			return "", false
		}
	}
	return name, n%2 == 1
}

// fold reads a name as the server does.
func fold(word string) (string, bool) {
	switch {
	case len(word) > 2 && word[0] == '"':
		return strings.ReplaceAll(word[1:len(word)-1], `""`, `"`), true
	case wordByte(word[0]) && (word[0] < '0' || word[0] > '9') && !strings.ContainsFunc(word, func(r rune) bool { return r >= 0x80 || r == '\'' }):
		return strings.ToLower(word), true
	}
	return "", false
}

// computed are words that look like the name of a column and are none.
var computed = func() map[string]bool {
	m := make(map[string]bool)
	for word := range strings.FieldsSeq(`current_catalog current_date current_role current_schema current_time current_timestamp
		current_user default false localtime localtimestamp null session_user system_user true user`) {
		m[word] = true
	}
	return m
}()
