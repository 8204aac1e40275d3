package postgres

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	pg "github.com/sqlc-dev/oliphant"
	"google.golang.org/protobuf/proto"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// facts are what a tree holds at any depth.
type facts struct {
	params    map[int32]int32 // offset: number; the tree shows the source of SET (a, b) = ... more than once
	functions []call
	locking   bool
	into      bool
	writes    int // INSERT, UPDATE, DELETE and MERGE, the statement itself too
}

// call is one function that the tree calls.
type call struct {
	name   string // lower case, the last part
	system bool   // of pg_catalog, perhaps only put there by the grammar
}

func factsOf(n *pg.Node) facts {
	f := facts{params: map[int32]int32{}}
	walk(n, func(m proto.Message) {
		switch m := m.(type) {
		case *pg.ParamRef:
			f.params[m.Location] = m.Number
		case *pg.FuncCall:
			f.functions = append(f.functions, callOf(m))
		case *pg.SQLValueFunction:
			f.functions = append(f.functions, call{name: valueFunction(m.Op)})
		case *pg.LockingClause:
			f.locking = true
		case *pg.IntoClause:
			f.into = true
		case *pg.InsertStmt, *pg.UpdateStmt, *pg.DeleteStmt, *pg.MergeStmt:
			f.writes++
		}
	})
	return f
}

func callOf(m *pg.FuncCall) call {
	parts := m.Funcname
	return call{
		name:   strings.ToLower(parts[len(parts)-1].GetString_().GetSval()),
		system: len(parts) == 2 && parts[0].GetString_().GetSval() == "pg_catalog",
	}
}

// valueFunction gives the word of CURRENT_DATE and its like; those that take a
// precision have an operation of their own.
func valueFunction(op pg.SQLValueFunctionOp) string {
	return strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(op.String(), "SVFOP_"), "_N"))
}

// grammarCalls are the functions that the grammar calls for a syntax of its own,
// by the word that stands in front of a bracket there; "" when none does. All of
// them give the same answer for the same arguments within a transaction.
var grammarCalls = map[string]string{
	"btrim": "trim", "ltrim": "trim", "rtrim": "trim",
	"like_escape": "", "similar_to_escape": "", "timezone": "", "overlaps": "",
	"is_normalized": "", "pg_collation_for": "", "extract": "extract", "position": "position", "overlay": "overlay",
	"substring": "substring", "normalize": "normalize", "xmlexists": "xmlexists",
}

// called tells whether the list of st covers a call of the tree.
func called(functions []string, c call) bool {
	if slices.Contains(functions, c.name) {
		return true
	}
	if !c.system {
		return false
	}
	if word, ok := grammarCalls[c.name]; ok {
		return word == "" || slices.Contains(functions, word)
	}
	return slices.Contains(functions, "treat") // TREAT (x AS type) calls pg_catalog.type
}

// facts compares what stands at any depth.
func (c *comparison) facts(st *sqltext.Statement, f facts) string {
	if f.into {
		return "the tree has SELECT ... INTO"
	}
	for _, fn := range f.functions {
		if !called(st.Functions, fn) {
			return fmt.Sprintf("function %s is not listed", fn.name)
		}
	}
	return first(
		func() string { return equal("locking", st.Locking, f.locking) },
		func() string { return c.placeholders(st, f) },
		func() string {
			if st.Kind == sqltext.Explain { // runs nothing
				return ""
			}
			return equal("statements that write", writes(st), f.writes)
		},
	)
}

// writes counts the statements that write as sqltext read them.
func writes(st *sqltext.Statement) int {
	n := 0
	switch st.Kind {
	case sqltext.Insert, sqltext.Update, sqltext.Delete, sqltext.Merge:
		n++
	}
	for _, cte := range st.CTEs {
		if cte.Write != nil {
			n += writes(cte.Write)
		}
	}
	return n
}

func (c *comparison) placeholders(st *sqltext.Statement, f facts) string {
	type param struct{ start, number int }
	var tree []param
	for at, number := range f.params {
		tree = append(tree, param{c.text.offset(int(at)), int(number)})
	}
	slices.SortFunc(tree, func(a, b param) int { return cmp.Compare(a.start, b.start) })
	if len(tree) != len(st.Placeholders) {
		return fmt.Sprintf("%d placeholders read, the tree has %d", len(st.Placeholders), len(tree))
	}
	for i, p := range st.Placeholders {
		want := fmt.Sprintf("$%d", p.Ordinal)
		got, ok := slice(st, p.Span)
		switch {
		case !ok || tree[i] != param{p.Span.Start, p.Ordinal} || p.Name != "":
			return fmt.Sprintf("placeholder %d: %v read, the tree has %v", i, p, tree[i])
		case strings.TrimLeft(got[1:], "0") != want[1:]:
			return fmt.Sprintf("placeholder %d: the span holds %q", i, got)
		}
	}
	return ""
}
