package pgsql

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// member is one of a WITH list.
type member struct {
	text  string  // the whole of it, or what stands in front of the bracket of a change
	write *writer // nil for one that reads
}

// withList cuts the user's WITH into RECURSIVE, if it is said, and its members. A
// list in which nothing writes stays in one piece.
func withList(r *proxy.Capture, v own, p string) (recursive string, list []member, err error) {
	s := r.Stmt
	at := s.With.Start
	if s.With.End == at {
		return "", nil, nil
	}
	at = skipBlank(s.Text, at+len("with"))
	const word = "recursive"
	if n := token(s.Text[at:]); n == len(word) && strings.EqualFold(s.Text[at:at+n], word) && len(s.CTEs) > 0 && s.Text[skipBlank(s.Text, at+n)] != '(' {
		recursive, at = "RECURSIVE ", skipBlank(s.Text, at+n)
	}
	if r.Members == nil {
		return recursive, []member{{text: v.piece(s, sqltext.Span{Start: at, End: s.With.End}) + "\n"}}, nil
	}
	if len(r.Members) != len(s.CTEs) {
		return "", nil, fmt.Errorf("capture statement: %d tables for %d members of WITH", len(r.Members), len(s.CTEs))
	}
	for i, c := range s.CTEs {
		_, open := lastOf(s.Text, at, c.Body.Start)
		end, next := s.With.End, s.With.End
		if i+1 < len(s.CTEs) {
			end, _ = lastOf(s.Text, c.Body.End, s.CTEs[i+1].Body.Start)
			next = end + 1
		}
		if open < 0 || end < 0 || !closed(s.Text[at:end]) {
			return "", nil, unreadable()
		}
		m := member{text: v.piece(s, sqltext.Span{Start: at, End: end}) + "\n"}
		if c.Write != nil {
			m.text = v.piece(s, sqltext.Span{Start: at, End: open})
			if m.write, err = newMember(r, v, c, r.Members[i], p+"m"+strconv.Itoa(i)+"_", p+"h"); err != nil {
				return "", nil, err
			}
		}
		list, at = append(list, m), next
	}
	return recursive, list, nil
}

func unreadable() error {
	return &gtx.UnsupportedError{Code: "cte-write", Reason: "the WITH list is not understood", Hint: "send the statements one by one"}
}

// lastOf gives the last comma outside of brackets and the bracket that is still
// open at the end of a part of a WITH list, -1 where there is none.
func lastOf(text string, from, to int) (comma, open int) {
	comma, open = -1, -1
	depth := 0
	for i := from; i < to; {
		switch text[i] {
		case ',':
			if depth == 0 {
				comma = i
			}
		case '(':
			if depth == 0 {
				open = i
			}
			depth++
		case ')': // the first may end the member before
			depth = max(depth-1, 0)
		}
		n := token(text[i:])
		if n == 0 {
			return -1, -1
		}
		i += n
	}
	if depth != 1 {
		open = -1
	}
	return comma, open
}

// newMember prepares a change in a WITH list.
func newMember(r *proxy.Capture, v own, c sqltext.CTE, t *undo.Table, p, head string) (*writer, error) {
	one := *r
	one.Stmt, one.Table, one.Tables, one.Members = c.Write, t, []*undo.Table{t}, nil
	if c.Write.With.End > c.Write.With.Start {
		return nil, &gtx.UnsupportedError{
			Code: "cte-write", Reason: fmt.Sprintf("%q has a WITH list of its own and writes", c.Name), Hint: "put its members into the list in front of the statement",
		}
	}
	w, err := newWriter(&one, v, p, head)
	if err != nil {
		return nil, err
	}
	if w.ret.list != "" {
		w.list, err = w.columnsOf(c.Name)
	}
	return w, err
}

// ctes gives the member as the server is to read it. The change and its capture
// stand in front of it, and under its name what its RETURNING gave: without one,
// a change of nothing, for the server to refuse every use of the name.
func (m *member) ctes() ([]string, error) {
	if m.write == nil {
		return []string{m.text}, nil
	}
	all, err := m.write.change()
	if err != nil {
		return nil, err
	}
	p := m.write.p
	body := "DELETE FROM " + tableUndo + " WHERE false"
	for i, name := range m.write.list {
		if i == 0 {
			body = "SELECT "
		} else {
			body += ", "
		}
		body += p + "u." + p + "c" + strconv.Itoa(i) + " AS " + ident(name)
	}
	if m.write.list != nil {
		body += " FROM " + p + "u"
	}
	return append(all, m.text+"("+body+")"), nil
}

// checkQuery refuses a query that its brackets would not hold.
func (w *writer) checkQuery() error {
	s := w.Stmt
	if len(w.Members) == 0 {
		return fmt.Errorf("capture statement of kind %d: not a change", s.Kind)
	}
	if s.Locking {
		return &gtx.UnsupportedError{
			Code: "cte-write", Reason: "the query behind a WITH list that writes locks rows", Hint: "lock them by a statement of its own",
		}
	}
	if !closed(s.Text[begin(s):s.Span.End]) || !closed(s.Slice(s.With)) {
		return unbalanced()
	}
	return nil
}

// begin is where the statement proper starts, behind WITH.
func begin(s *sqltext.Statement) int {
	if s.With.End > s.With.Start {
		return skipBlank(s.Text, s.With.End)
	}
	return s.Span.Start
}
