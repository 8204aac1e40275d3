package capture

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// companion is a SELECT that finds the rows of one table that a statement is
// about to change, by their key. It may find a row more than once, and one of
// NULLs for what an outer join does not have.
type companion struct {
	table *table
	query string
	args  []any
}

// companions makes the SELECTs of a statement from its slices. args are those
// of the user, in the order of the ordinals.
func companions(st *sqltext.Statement, args []any) ([]companion, error) {
	var all []companion
	writing := false
	for _, c := range st.CTEs {
		if c.Write == nil {
			continue
		}
		writing = true
		more, err := companions(c.Write, args)
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	var own []companion
	var err error
	b := builder{st: st, args: args, reuse: map[int]int{}, noWith: writing}
	switch st.Kind {
	case sqltext.Update, sqltext.Delete:
		own, err = b.modify()
	case sqltext.Insert:
		own, err = b.upsert()
	case sqltext.Merge:
		own, err = b.merge()
	case sqltext.Select:
		if !writing {
			err = errors.New("read statement: it only reads")
		}
	default:
		err = fmt.Errorf("read statement: kind %d", st.Kind)
	}
	return append(all, own...), err
}

// builder writes one companion. The placeholders of the slices are numbered anew.
type builder struct {
	st     *sqltext.Statement
	args   []any
	noWith bool // the WITH list writes, and the rest does not read it

	out     strings.Builder
	outArgs []any
	reuse   map[int]int // ordinal of the user's → of the companion's
}

func (b *builder) sql(parts ...string) {
	for _, p := range parts {
		b.out.WriteString(p)
	}
}

// slice writes a part of the user's text.
func (b *builder) slice(sp sqltext.Span) error {
	at := sp.Start
	for _, p := range b.st.In(sp) {
		b.sql(b.st.Text[at:p.Span.Start])
		mark, err := b.placeholder(p)
		if err != nil {
			return err
		}
		b.sql(mark)
		at = p.Span.End
	}
	b.sql(b.st.Text[at:sp.End])
	return nil
}

// clause writes a slice between two texts, or nothing when it is not there.
func (b *builder) clause(before string, sp sqltext.Span, after string) error {
	if sp.Start == sp.End {
		return nil
	}
	b.sql(before)
	err := b.slice(sp)
	b.sql(after)
	return err
}

func (b *builder) placeholder(p sqltext.Placeholder) (string, error) {
	numbered := b.st.Dialect == sqltext.Postgres || b.st.Dialect == sqltext.SQLite
	if n, ok := b.reuse[p.Ordinal]; ok && numbered {
		return b.mark(n), nil
	}
	v, err := argument(b.args, p)
	if err != nil {
		return "", err
	}
	b.outArgs = append(b.outArgs, v)
	b.reuse[p.Ordinal] = len(b.outArgs)
	return b.mark(len(b.outArgs)), nil
}

func (b *builder) mark(n int) string {
	switch b.st.Dialect {
	case sqltext.Postgres:
		return fmt.Sprintf("$%d", n)
	case sqltext.SQLite:
		return fmt.Sprintf("?%d", n)
	}
	return "?"
}

// argument gives the value that a placeholder takes.
func argument(args []any, p sqltext.Placeholder) (any, error) {
	if p.Name != "" {
		for _, a := range args {
			if n, ok := a.(sql.NamedArg); ok && n.Name == p.Name {
				return n.Value, nil
			}
		}
		return nil, fmt.Errorf("find argument: none has the name %q", p.Name)
	}
	if p.Ordinal < 1 || p.Ordinal > len(args) {
		return nil, fmt.Errorf("find argument: %d of %d", p.Ordinal, len(args))
	}
	if n, ok := args[p.Ordinal-1].(sql.NamedArg); ok {
		return n.Value, nil
	}
	return args[p.Ordinal-1], nil
}

// with writes the WITH list, and what comes behind it to its list.
func (b *builder) with(more string) error {
	there := b.st.With.Start != b.st.With.End && !b.noWith
	if there {
		if err := b.slice(b.st.With); err != nil {
			return err
		}
	}
	switch {
	case more != "" && there:
		b.sql(", ", more)
	case more != "":
		b.sql("WITH ", more)
	}
	b.sql(" ")
	return nil
}

// keyOf writes the list of the key's columns.
func (b *builder) keyOf(t *table, qualifier string) {
	b.sql("SELECT ")
	for i, k := range t.key {
		if i > 0 {
			b.sql(", ")
		}
		b.sql(qualifier, ".", quoter{d: b.st.Dialect}.always(k))
	}
	b.sql(" FROM ")
}

// reference gives how the statement's other clauses name a table.
func (b *builder) reference(t *sqltext.Table) string {
	if t.Alias != "" {
		return b.st.Slice(t.AliasSpan)
	}
	return b.st.Slice(t.NameSpan)
}

// asTarget writes the target with all that stands around its name.
func (b *builder) asTarget(t *sqltext.Table) error {
	if t.Only {
		b.sql("ONLY ")
	}
	b.sql(b.st.Slice(t.NameSpan))
	if err := b.clause(" ", t.Partition, ""); err != nil {
		return err
	}
	if t.Alias != "" {
		b.sql(" AS ", b.st.Slice(t.AliasSpan))
	}
	return b.clause(" ", t.IndexHint, "")
}

// lock ends a companion.
func (b *builder) lock(t *sqltext.Table) {
	name := t.Alias
	if name == "" {
		name = t.Name.Table
	}
	switch b.st.Dialect {
	case sqltext.MariaDB:
		b.sql(" FOR UPDATE")
	case sqltext.MySQL, sqltext.Postgres:
		b.sql(" FOR UPDATE OF ", quoter{d: b.st.Dialect}.always(name))
	}
}

func (b *builder) done(t *table) companion {
	return companion{table: t, query: b.out.String(), args: b.outArgs}
}

// modify is for UPDATE and DELETE.
func (b *builder) modify() ([]companion, error) {
	st := b.st
	if st.Multi {
		return b.multi()
	}
	target := st.Target()
	t, err := find(st.Dialect, target.Name.Table)
	if err != nil {
		return nil, err
	}
	if err := b.with(""); err != nil {
		return nil, err
	}
	b.keyOf(t, b.reference(target))
	// The user's list comes first: SQLite joins from left to right, so a RIGHT JOIN
	// in a list behind the target would take it in.
	err = errors.Join(
		b.clause("", st.From, ", "),
		b.asTarget(target),
		b.clause(" WHERE (", st.Where, ")"),
		b.clause(" ORDER BY ", st.OrderBy, ""),
		b.clause(" LIMIT ", st.Limit, ""),
	)
	b.lock(target)
	return []companion{b.done(t)}, err
}

// multi makes one companion for each table that a statement on several changes.
func (b *builder) multi() ([]companion, error) {
	var all []companion
	for i := range b.st.Targets {
		target := &b.st.Targets[i]
		t, err := find(b.st.Dialect, target.Name.Table)
		if err != nil {
			return nil, err
		}
		if b.st.Kind == sqltext.Update && !b.assigns(target, t) {
			continue
		}
		one := builder{st: b.st, args: b.args, reuse: map[int]int{}, noWith: b.noWith}
		if err := one.with(""); err != nil {
			return nil, err
		}
		one.keyOf(t, b.reference(target))
		err = errors.Join(
			one.slice(b.st.From),
			one.clause(" WHERE (", b.st.Where, ")"),
		)
		if err != nil {
			return nil, err
		}
		one.sql(" FOR UPDATE")
		all = append(all, one.done(t))
	}
	return all, nil
}

// assigns tells whether a SET list assigns a column of a table.
func (b *builder) assigns(target *sqltext.Table, t *table) bool {
	name := target.Alias
	if name == "" {
		name = target.Name.Table
	}
	for _, c := range b.st.SetColumns {
		if c.Table == name {
			return true
		}
		for _, own := range t.cols {
			if c.Table == "" && strings.EqualFold(own.name, c.Name) {
				return true
			}
		}
	}
	return false
}
