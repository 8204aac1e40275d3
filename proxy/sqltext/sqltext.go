// Package sqltext reads SQL as far as a global transaction must understand it:
// it cuts a statement into its top-level clauses and refuses what it does not
// fully understand. It never re-prints: every part is a span of the user's own
// text. It says what a text is, not whether it can be captured. It does no I/O
// and depends on nothing.
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
	BackslashStrings   bool // Postgres: standard_conforming_strings is off, \ escapes in every string
	UpdateDeleteLimit  bool // SQLite built with SQLITE_ENABLE_UPDATE_DELETE_LIMIT: UPDATE and DELETE take ORDER BY and LIMIT
}

// Kind of a statement. What Parse knows to be something else is a Refusal.
type Kind uint8

const (
	Select     Kind = iota + 1 // also WITH ... SELECT, and a query in brackets; reads, see Locking
	Show                       // SHOW: reads what is no table
	Explain                    // EXPLAIN of a statement that it does not run
	Insert                     // INSERT and REPLACE
	Update                     // one table, or several of the MySQL family
	Delete                     // one table, or several of the MySQL family
	Merge                      // MERGE of Postgres
	Savepoint                  // SAVEPOINT name
	RollbackTo                 // ROLLBACK TO name
	Release                    // RELEASE name
	Several                    // several statements in one text, see Parts
)

// Span is a half-open range of bytes in Statement.Text; empty when Start == End.
// A clause that is there is never empty.
type Span struct{ Start, End int }

// Name is a table name as written, unquoted and folded as the server would.
type Name struct {
	Schema string // "" when not qualified
	Table  string
}

// Table is a table as a statement names it.
type Table struct {
	Name      Name
	NameSpan  Span   // the name as written, without alias
	Alias     string // unquoted; "" when none
	AliasSpan Span   // the alias as written, quotes included
	Only      bool   // Postgres: ONLY, without the tables that inherit
	Partition Span   // MySQL family: PARTITION (p, ...), with the word
	IndexHint Span   // USE, IGNORE, FORCE INDEX of the MySQL family; INDEXED BY, NOT INDEXED of SQLite
}

// Column is a column that is assigned.
type Column struct {
	Table string // the qualifier's last part, unquoted; "" when none (always, outside the MySQL family)
	Name  string // unquoted; of a part of a Postgres column (a.b, a[1]) the column
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
	ValueLiteral                      // one decimal number, a sign allowed but no comment behind it, one string of text, TRUE or FALSE
	ValueNull                         // NULL
	ValueDefault                      // DEFAULT
	ValuePlaceholder                  // exactly one parameter marker
)

// Source is where the rows of an INSERT come from.
type Source uint8

const (
	SourceValues   Source = iota + 1 // Rows
	SourceSet                        // INSERT ... SET of the MySQL family: Columns and one of Rows, as if VALUES
	SourceDefaults                   // DEFAULT VALUES, () VALUES (): one row of defaults (or several, each empty, in Rows)
	SourceQuery                      // Query
)

// Or is what INSERT and UPDATE do about a row that breaks a constraint, and
// DELETE about one that others refer to.
type Or uint8

const (
	OrFail     Or = iota // the statement fails, the default
	OrIgnore             // IGNORE, OR IGNORE: the row is left out, or left as it was
	OrReplace            // REPLACE, OR REPLACE: the rows in the way are deleted
	OrAbort              // OR ABORT of SQLite: the default, said
	OrFailHere           // OR FAIL of SQLite: fails, the rows before stay
	OrRollback           // OR ROLLBACK of SQLite: the transaction is rolled back
)

// Upsert is one ON CONFLICT clause, or ON DUPLICATE KEY UPDATE.
type Upsert struct {
	Span       Span     // the clause, with its first word
	Target     Span     // what stands between ON CONFLICT and DO; empty when nothing, and for ON DUPLICATE KEY
	Nothing    bool     // DO NOTHING
	Set        Span     // the assignments, without the word
	SetColumns []Column // assigned in Set
	Where      Span     // the condition of DO UPDATE, without the word
}

// When is one WHEN clause of MERGE.
type When struct {
	Span       Span // from WHEN to the end of the action
	Match      Match
	Cond       Span     // behind AND, without the word; empty when none
	Kind       Kind     // Insert, Update, Delete; 0 for DO NOTHING
	Set        Span     // the assignments of UPDATE
	SetColumns []Column // assigned in Set
	Columns    []string // INSERT's column list; nil when absent
}

// Match is which rows a When applies to.
type Match uint8

const (
	Matched            Match = iota + 1 // WHEN MATCHED
	NotMatched                          // WHEN NOT MATCHED [BY TARGET]
	NotMatchedBySource                  // WHEN NOT MATCHED BY SOURCE
)

// CTE is one member of the WITH list in front of a statement.
type CTE struct {
	Name string // unquoted
	Body Span   // what stands in the brackets
	// Write is the statement in the brackets when it writes (Postgres). Its spans
	// count from the beginning of the whole text.
	Write *Statement
}

// Statement is what Parse understood. It is immutable and may be shared.
type Statement struct {
	Text    string
	Dialect Dialect
	Kind    Kind
	// Span is the statement itself, without the semicolon: all of the text but
	// comments and space around it, or a part of it for one of Parts and CTE.Write.
	Span Span

	// With is the WITH list in front, with the word.
	With Span
	CTEs []CTE

	// Targets are the tables that Insert, Update, Delete and Merge change, one
	// but for Multi: then a Delete's as its list names them, in that order, and
	// for an Update every table among the references that may be changed.
	Targets []Table
	// Multi: a multi-table UPDATE or DELETE of the MySQL family. The targets
	// stand inside From.
	Multi bool

	// From is what stands behind FROM of Update, USING of Delete and Merge, or
	// the table references of a Multi, without the word.
	From Span
	// Set is what stands after SET of Update, without the word.
	Set Span
	// SetColumns are the columns assigned in Set, in text order.
	SetColumns []Column
	// Where is the condition without the word.
	Where Span
	// OrderBy is the list of Update, Delete or a split Select, without the words.
	OrderBy Span
	// Limit is what stands after LIMIT, without the word; also with OFFSET.
	Limit Span
	// Returning is the list without the word, WITH (OLD AS o, ...) included.
	Returning Span

	// Or is what Insert and Update do about a row that breaks a constraint; of
	// Delete OrIgnore for DELETE IGNORE of the MySQL family.
	Or Or
	// Replace: the verb was REPLACE; Or is OrReplace.
	Replace bool
	// Source, Columns, Rows, Query, Upserts, RowAlias, Overriding are Insert's.
	Source  Source
	Columns []string // unquoted names of the column list; nil when absent
	Rows    [][]Value
	Query   Span // SELECT, TABLE, WITH or a query in brackets
	Upserts []Upsert
	// RowAlias is AS new [(columns)] behind VALUES in MySQL, with the word.
	RowAlias Span
	// Overriding is OVERRIDING SYSTEM|USER VALUE of Postgres.
	Overriding Span

	// On and Whens are Merge's: the join condition without the word, and the
	// WHEN clauses in text order.
	On    Span
	Whens []When

	// Locking: a Select somewhere in the statement takes row locks (FOR UPDATE,
	// FOR SHARE, LOCK IN SHARE MODE).
	Locking bool
	// Lock is the locking clause of a Select that reads one table at its top
	// level and locks there: then Targets holds that table, and Where, OrderBy
	// and Limit are set. Lock is empty for every other Select.
	Lock Span

	// Savepoint is the unquoted name of Savepoint, RollbackTo, Release.
	Savepoint string

	// Parts are the statements of a text with several, each as if it stood alone,
	// but for spans and ordinals, which count through the whole text. In SQLite the
	// ordinals of each begin anew: its drivers give every statement all arguments.
	Parts []*Statement

	// Placeholders of Span, in text order.
	Placeholders []Placeholder
	// Functions are the lower-case names of everything called with "(" in Span,
	// each once, without schema, for refusing what gives another answer the second
	// time. Also here: functions without brackets (current_timestamp), system
	// variables (@@x), user variables (@x), nextval for NEXT VALUE FOR. A type with
	// a length looks like a call and is listed too.
	Functions []string
}

// Target is the table that a statement changes, the first of several.
func (s *Statement) Target() *Table { return &s.Targets[0] }

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
