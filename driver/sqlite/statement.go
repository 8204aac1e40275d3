package sqlite

import (
	"database/sql/driver"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// refuseStatement refuses, before anything runs, what cannot be captured.
func refuseStatement(t *undo.Table, s *sqltext.Statement) error {
	for _, f := range s.Functions {
		if f == "changes" || f == "total_changes" {
			return refuse("volatile", "%s() would see the statements of the capture: compute the value before", f)
		}
		// SQLite then evaluates all rows before the first is inserted.
		if f == "last_insert_rowid" && s.Kind == sqltext.Insert && len(s.Rows) != 1 {
			return refuse("volatile", "last_insert_rowid() changes from row to row, and not as usual under capture: insert one row of VALUES, or compute the value before")
		}
	}
	if s.Or == sqltext.OrRollback {
		return &gtx.UnsupportedError{
			Code:   "or-rollback",
			Reason: "OR ROLLBACK ends the local transaction under its branch",
			Hint:   "remove it and roll back where the error is handled",
		}
	}
	sets := s.SetColumns
	for _, u := range s.Upserts {
		sets = append(sets[:len(sets):len(sets)], u.SetColumns...)
	}
	for _, column := range sets {
		// Where the rowid is not the key it is in no image.
		if rowid(column.Name) && index(t, column.Name) < 0 && !rowidIsKey(t) {
			return refuse("key-update", "%s of table %s is not its primary key, so it could not be restored", column.Name, t.ID)
		}
	}
	return nil
}

// volatile tells whether a statement may select other rows each time.
func volatile(s *sqltext.Statement) bool {
	return slices.Contains(s.Functions, "random") || slices.Contains(s.Functions, "randomblob")
}

// movesKey tells whether one of the columns is in the primary key.
func movesKey(t *undo.Table, columns []sqltext.Column) bool {
	for _, c := range columns {
		if at := index(t, c.Name); at < 0 || slices.Contains(t.Key, at) {
			return true
		}
	}
	return false
}

// index finds a column, -1 when there is none of that name.
func index(t *undo.Table, column string) int {
	return slices.IndexFunc(t.Columns, func(c undo.Column) bool { return strings.EqualFold(c.Name, column) })
}

func rowidIsKey(t *undo.Table) bool { return len(t.Key) == 1 && t.Columns[t.Key[0]].Auto }

func some(sp sqltext.Span) bool { return sp.End > sp.Start }

func rowid(column string) bool {
	return strings.EqualFold(column, "rowid") || strings.EqualFold(column, "oid") || strings.EqualFold(column, "_rowid_")
}

// withKeys gives the user's text with the key image as last column of RETURNING.
func withKeys(t *undo.Table, s *sqltext.Statement) (string, error) {
	key := keyImage(t, "")
	if s.Returning.End > s.Returning.Start {
		return s.Text[:s.Returning.End] + "\n, " + key, nil
	}
	var end int
	switch {
	case s.Kind == sqltext.Insert:
		last := s.Rows[len(s.Rows)-1]
		var err error
		if end, err = closingBracket(s.Text, last[len(last)-1].Span.End); err != nil {
			return "", err
		}
	case s.Where.End > s.Where.Start:
		end = s.Where.End
	case s.Kind == sqltext.Update:
		end = s.Set.End
	default:
		end = max(s.Target().NameSpan.End, s.Target().AliasSpan.End)
	}
	return s.Text[:end] + "\nRETURNING " + key, nil
}

// closingBracket finds the end of the last VALUES row, past comments.
func closingBracket(text string, i int) (int, error) {
	for i < len(text) {
		switch {
		case text[i] == ')':
			return i + 1, nil
		case strings.HasPrefix(text[i:], "--"):
			i = skipPast(text, i, "\n")
		case strings.HasPrefix(text[i:], "/*"):
			i = skipPast(text, i+2, "*/")
		case strings.IndexByte(" \t\r\n\f", text[i]) >= 0:
			i++
		default:
			return 0, refuse("values-form", "a row of VALUES is not understood: write VALUES (a, b), (c, d)")
		}
	}
	return 0, refuse("values-form", "a row of VALUES does not end")
}

// companion is the SELECT of key image, key identity and full image of the rows
// that an UPDATE or DELETE selects. The condition is the user's own text; its
// parameters are numbered anew.
func companion(t *undo.Table, s *sqltext.Statement, args []driver.NamedValue) (string, []driver.NamedValue, error) {
	var b strings.Builder
	b.WriteString("SELECT " + keyImage(t, "") + ", " + keyIdentity(t, "") + ", " + fullImage(t, "") + " FROM " + s.Slice(s.Target().NameSpan))
	if s.Target().AliasSpan.End > s.Target().AliasSpan.Start {
		b.WriteString(" AS " + s.Slice(s.Target().AliasSpan))
	}
	if s.Where.End == s.Where.Start {
		return b.String(), nil, nil
	}
	b.WriteString(" WHERE (")
	numbers := parameterNumbers(s)
	var out []driver.NamedValue
	at := s.Where.Start
	for i, p := range s.Placeholders {
		if p.Span.Start < s.Where.Start || p.Span.End > s.Where.End {
			continue
		}
		v, ok := argument(s.Slice(p.Span), numbers[i], args)
		if !ok {
			return "", nil, fmt.Errorf("bind parameter %s: no argument was given for it", s.Slice(p.Span))
		}
		out = append(out, driver.NamedValue{Ordinal: len(out) + 1, Value: v})
		b.WriteString(s.Text[at:p.Span.Start] + "?" + strconv.Itoa(len(out)))
		at = p.Span.End
	}
	b.WriteString(s.Text[at:s.Where.End] + "\n)")
	return b.String(), out, nil
}

// parameterNumbers gives each marker the number that SQLite gives it: ?N is N, a
// name keeps the number of its first use, the others take the largest so far
// plus one.
func parameterNumbers(s *sqltext.Statement) []int {
	numbers := make([]int, len(s.Placeholders))
	names := map[string]int{}
	largest := 0
	for i, p := range s.Placeholders {
		text := s.Slice(p.Span)
		n, known := names[text]
		if !known {
			n = largest + 1
			if text[0] == '?' && len(text) > 1 {
				n, _ = strconv.Atoi(text[1:])
			}
			if text != "?" {
				names[text] = n
			}
		}
		largest = max(largest, n)
		numbers[i] = n
	}
	return numbers
}

// argument finds the value of a marker as the base driver does: ?N and $N take
// the argument of that number, names the one of that name, ? its own number's.
func argument(marker string, number int, args []driver.NamedValue) (driver.Value, bool) {
	for _, a := range args {
		switch {
		case marker == "?":
			if a.Ordinal == number {
				return a.Value, true
			}
		case (marker[0] == '?' || marker[0] == '$') && marker[1:] == strconv.Itoa(a.Ordinal), marker[1:] == a.Name:
			return a.Value, true
		}
	}
	return nil, false
}
