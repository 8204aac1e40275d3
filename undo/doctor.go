package undo

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Doctor is the port that tells before production what will not work. Its
// queries change nothing: no row, no table, no setting of the server. The refusals
// of a table are not its business: they come from Dialect.Table, so that doctor
// and capture never disagree.
type Doctor interface {
	// Diagnose reads the server, the session, the limits and the state of this
	// module's own tables.
	Diagnose(ctx context.Context, q Query) ([]Finding, error)

	// Relations lists what the user can name in a statement, without the server's
	// own relations and those of this module, in the order of their names.
	Relations(ctx context.Context, q Query) ([]Relation, error)

	// Examine looks at a table that Dialect.Table accepts: whether the privileges
	// of this user suffice for capture and restore, and whether its rows fit.
	Examine(ctx context.Context, q Query, t *Table, r Relation) ([]Finding, error)
}

// Level of a Finding.
type Level string

const (
	Info Level = "info" // a value to know
	Warn Level = "warn" // works, with a risk or a cost
	Fail Level = "fail" // will not work
)

// Finding is one thing that a Doctor has looked at.
type Finding struct {
	Name   string `json:"name"` // short and stable, for programs
	Level  Level  `json:"level"`
	Value  string `json:"value,omitempty"`
	Reason string `json:"reason,omitempty"`
	Hint   string `json:"hint,omitempty"` // what to do instead
}

// Unknown stands for a size that the server does not tell without a scan.
const Unknown = -1

// Relation is a table, or what can stand in its place.
type Relation struct {
	ID   string // Table.ID
	Name string // ShowName, with the schema where the database has several
	Kind string // "table", "view", ...
	// Rows reports whether it can hold rows of its own that statements change: not
	// so a view or a sequence.
	Rows bool
	// Count and Width are estimates of the rows and of the bytes of one, Widest is
	// what the declared types allow one to have. Unknown where they are not known.
	Count, Width, Widest int64
}

// ShowName joins the parts of a name, for people. A part that a dot or a quote
// would make ambiguous stands in double quotes.
func ShowName(parts ...string) string {
	shown := make([]string, len(parts))
	for i, p := range parts {
		shown[i] = p
		if p == "" || strings.ContainsAny(p, ".\"`") {
			shown[i] = `"` + strings.ReplaceAll(p, `"`, `""`) + `"`
		}
	}
	return strings.Join(shown, ".")
}

// OwnTable is a table of this module as Dialect.Schema makes it.
type OwnTable struct {
	Name    string // not qualified
	Columns []string
}

// OwnTables reads the DDL of Dialect.Schema: a line that begins with CREATE TABLE
// and then one line for each column, indented, its name in lower case.
func OwnTables(d Dialect) []OwnTable {
	const create = "CREATE TABLE IF NOT EXISTS "
	var own []OwnTable
	for _, ddl := range d.Schema() {
		inside := false
		for line := range strings.Lines(ddl) {
			line = strings.TrimRight(line, "\n")
			switch {
			case strings.HasPrefix(line, create):
				name := strings.Fields(line[len(create):])[0]
				own = append(own, OwnTable{Name: name[strings.LastIndexByte(name, '.')+1:]})
				inside = true
			case !inside:
			case strings.HasPrefix(line, "\t") && line[1] >= 'a' && line[1] <= 'z':
				t := &own[len(own)-1]
				t.Columns = append(t.Columns, strings.Fields(line)[0])
			case !strings.HasPrefix(line, "\t"):
				inside = false
			}
		}
	}
	return own
}

// OwnState is what a dialect has found of this module's tables.
type OwnState struct {
	// Columns of each table that is there, by its name.
	Columns map[string][]string
	// Create says why the missing ones cannot be made at first use, "" when they
	// can.
	Create string
	// Lacks lists, by table, the privileges among those of Needs that are missing.
	Lacks map[string][]string
}

// Needs gives the privileges that serving transactions needs on one of this
// module's tables. The identity of the database is inserted once.
func Needs(table string, empty bool) []string {
	switch table {
	case "gtx_resource":
		if empty {
			return []string{"SELECT", "INSERT"}
		}
		return []string{"SELECT"}
	case "gtx_branch", "gtx_undo":
		return []string{"SELECT", "INSERT", "UPDATE", "DELETE"}
	}
	return nil // tables for operators
}

// Judge compares the tables of this module with what Dialect.Schema makes.
func (s OwnState) Judge(d Dialect) []Finding {
	const name = "gtx_tables"
	var missing, hidden, old, lacks []string
	own := OwnTables(d)
	for _, t := range own {
		have, there := s.Columns[t.Name]
		if !there && len(Needs(t.Name, false)) == 0 {
			hidden = append(hidden, t.Name)
			continue
		}
		if !there {
			missing = append(missing, t.Name)
			continue
		}
		for _, c := range t.Columns {
			if !slices.Contains(have, c) {
				old = append(old, t.Name+"."+c)
			}
		}
		if l := s.Lacks[t.Name]; len(l) > 0 {
			lacks = append(lacks, strings.Join(l, ", ")+" on "+t.Name)
		}
	}
	var out []Finding
	add := func(l Level, value, reason, hint string) {
		out = append(out, Finding{Name: name, Level: l, Value: value, Reason: reason, Hint: hint})
	}
	switch {
	case len(missing) > 0 && s.Create != "":
		add(Fail, "missing", fmt.Sprintf("%s: not there or not visible, and %s", strings.Join(missing, ", "), s.Create),
			"run gtx migrate with a user who may create them")
	case len(missing) > 0 && len(missing)+len(hidden) == len(own):
		add(Info, "not there yet", "made at first use", "")
	case len(missing) > 0:
		add(Info, "incomplete", strings.Join(missing, ", ")+": made at first use", "")
	}
	if len(old) > 0 {
		add(Fail, "of another version", "no column "+strings.Join(old, ", "), "run gtx migrate, or let the version of this gtx match the programs'")
	}
	if len(lacks) > 0 {
		add(Fail, "no access", "this user lacks "+strings.Join(lacks, "; "), "GRANT it")
	}
	if len(out) == 0 && len(hidden) > 0 {
		add(Info, "there", "of the version of this gtx; not visible, and only for operators: "+strings.Join(hidden, ", "), "")
	} else if len(out) == 0 {
		add(Info, "there", "of the version of this gtx", "")
	}
	return out
}

// Access is what a user may do with a table. All means: with every column that
// can be written, Some: with at least one.
type Access struct {
	Select                                       bool // of all columns
	InsertSome, InsertAll, UpdateSome, UpdateAll bool
	Delete                                       bool
	// Reinserts: the dialect restores an updated row of this table by deleting and
	// inserting it.
	Reinserts bool
	// LockByUpdate: locking a row needs the privilege to update it.
	LockByUpdate bool
}

// Judge tells whether whatever this user may write can also be captured and
// undone by this user: phase two runs with the same privileges.
func (a Access) Judge() []Finding {
	if !a.InsertSome && !a.UpdateSome && !a.Delete {
		return []Finding{{Name: "read-only", Level: Info, Reason: "this user may not write to it"}}
	}
	var may, lacks []string
	need := func(have bool, privilege string) {
		if !have && !slices.Contains(lacks, privilege) {
			lacks = append(lacks, privilege)
		}
	}
	need(a.Select, "SELECT on every column")
	if a.InsertSome {
		may = append(may, "INSERT")
		need(a.Delete, "DELETE")
	}
	if a.UpdateSome {
		may = append(may, "UPDATE")
		need(a.UpdateAll, "UPDATE on every column")
	}
	if a.Delete {
		may = append(may, "DELETE")
	}
	if a.Delete || a.UpdateSome && a.Reinserts {
		need(a.InsertAll, "INSERT on every column")
	}
	if a.UpdateSome && a.Reinserts {
		need(a.Delete, "DELETE")
	}
	if a.LockByUpdate && !a.UpdateSome {
		need(false, "UPDATE")
	}
	if len(lacks) == 0 {
		return nil
	}
	return []Finding{{
		Name: "privilege", Level: Fail,
		Reason: fmt.Sprintf("this user may %s and lacks %s, so what it writes cannot be captured and undone", strings.Join(may, ", "), strings.Join(lacks, ", ")),
		Hint:   "GRANT SELECT, INSERT, UPDATE, DELETE",
	}}
}
