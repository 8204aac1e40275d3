// Package sqltext reads SQL as far as a global transaction must understand it:
// it cuts a statement into its top-level clauses and refuses what it does not
// fully understand. It never re-prints: every part is a span of the user's own
// text. It does no I/O and depends on nothing.
package sqltext

// Dialect is the grammar family and flavour.
type Dialect uint8

const (
	MySQL Dialect = iota + 1
	MariaDB
	Postgres
	SQLite
)

// Mode is what the session changes about reading text. The zero value is the
// default of each server.
type Mode struct {
	ANSIQuotes         bool // MySQL family: "x" is an identifier
	NoBackslashEscapes bool // MySQL family: \ is an ordinary character in strings
}

// Kind of a statement.
type Kind uint8

const (
	Select Kind = iota + 1 // reads only: no row lock beyond its own, runs unchanged
	Insert                 // INSERT ... VALUES
	Update                 // one table
	Delete                 // one table
)

// Span is a half-open range of bytes in Statement.Text; empty when Start == End.
type Span struct{ Start, End int }

// Name is a table name as written, unquoted and folded as the server would.
type Name struct {
	Schema string // "" when not qualified
	Table  string
}

// Placeholder is one parameter marker.
type Placeholder struct {
	Span    Span
	Ordinal int    // from 1: which argument it takes
	Name    string // for :name, @name, $name of SQLite, without the sigil; "" for $NNN
}

// Value is one expression of a VALUES row.
type Value struct {
	Span Span
	// Kind tells what stands there, as far as the key of a new row needs it.
	Kind ValueKind
	// Placeholder is the index into Statement.Placeholders for ValuePlaceholder.
	Placeholder int
}

// ValueKind sorts the expressions of VALUES.
type ValueKind uint8

const (
	ValueOther       ValueKind = iota // any expression: may differ when evaluated twice; also X'', B'', N'' and 0x
	ValueLiteral                      // one decimal number, a sign allowed, one string of text, TRUE or FALSE
	ValueNull                         // NULL
	ValueDefault                      // DEFAULT
	ValuePlaceholder                  // exactly one parameter marker
)

// Statement is what Parse understood. It is immutable and may be shared.
type Statement struct {
	Text    string
	Dialect Dialect
	Kind    Kind

	// Target of Insert, Update, Delete.
	Target     Name
	TargetSpan Span   // the name as written, without alias
	Alias      string // unquoted; "" when none
	AliasSpan  Span   // the alias as written, quotes included

	// Set is what stands after SET (Update), without the word.
	Set Span
	// SetColumns are the unquoted names assigned in Set.
	SetColumns []string
	// Where is the condition without the word; empty when there is none.
	Where Span
	// Returning is the list without the word; empty when there is none.
	Returning Span

	// Columns are the unquoted names of INSERT's column list; nil when absent.
	Columns []string
	// Rows are the VALUES rows.
	Rows [][]Value

	Placeholders []Placeholder // in text order
	// Functions are the lower-case names of everything called with "(", each
	// once, without schema, for refusing what gives another answer the second
	// time. Also here: functions without brackets (current_timestamp), system
	// variables (@@x), nextval for NEXT VALUE FOR. A type with a length and a CTE
	// with columns look like calls and are listed too.
	Functions []string
}

// Slice gives the text of a span.
func (s *Statement) Slice(sp Span) string { return s.Text[sp.Start:sp.End] }

// In gives the placeholders inside a span, in text order.
func (s *Statement) In(sp Span) []Placeholder {
	var in []Placeholder
	for _, p := range s.Placeholders {
		if p.Span.Start >= sp.Start && p.Span.End <= sp.End {
			in = append(in, p)
		}
	}
	return in
}

// Refusal says why a text is not understood.
type Refusal struct {
	Code   string // stable, short, lower case with dashes
	Reason string // a sentence for people
}

func (r *Refusal) Error() string { return r.Reason }
