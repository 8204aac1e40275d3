package capture

import (
	"errors"
	"strings"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// freshName is what the companion of an INSERT calls the new rows: the name that
// Postgres and SQLite give them in DO UPDATE.
const freshName = "excluded"

// upsert finds the rows that are in the way of new ones and then changed.
func (b *builder) upsert() ([]companion, error) {
	st := b.st
	target := st.Target()
	t, err := find(st.Dialect, target.Name.Table)
	if err != nil {
		return nil, err
	}
	if len(st.Upserts) != 1 {
		return nil, errors.New("read upsert: not one clause")
	}
	up := st.Upserts[0]
	if up.Nothing {
		return nil, nil
	}
	if !assignsTouched(up.SetColumns) {
		return nil, errors.New("read upsert: " + touched + " is not among the columns that are set")
	}
	// The list goes on behind the user's WITH, whose arguments come first.
	if err := b.with(freshName + " ("); err != nil {
		return nil, err
	}
	q := quoter{d: st.Dialect}
	for i, c := range st.Columns {
		if i > 0 {
			b.sql(", ")
		}
		b.sql(q.always(c))
	}
	b.sql(") AS (")
	if err := b.newRows(); err != nil {
		return nil, err
	}
	b.sql(") ")
	ref := b.reference(target)
	b.keyOf(t, ref)
	if err := b.asTarget(target); err != nil {
		return nil, err
	}
	b.sql(", ", freshName, " WHERE (")
	or := ""
	for _, c := range append(t.key[:len(t.key):len(t.key)], t.unique) {
		b.sql(or, ref, ".", q.always(c), " = ", freshName, ".", q.always(c))
		or = " OR "
	}
	b.sql(")")
	err = b.clause(" AND (", up.Where, ")")
	b.lock(target)
	return []companion{b.done(t)}, err
}

func assignsTouched(cols []sqltext.Column) bool {
	for _, c := range cols {
		if strings.EqualFold(c.Name, touched) {
			return true
		}
	}
	return false
}

// newRows writes the rows of VALUES or the query as a query.
func (b *builder) newRows() error {
	if b.st.Source == sqltext.SourceQuery {
		return b.slice(b.st.Query)
	}
	for i, row := range b.st.Rows {
		if i > 0 {
			b.sql(" UNION ALL ")
		}
		b.sql("SELECT ")
		for j, v := range row {
			if j > 0 {
				b.sql(", ")
			}
			if err := b.slice(v.Span); err != nil {
				return err
			}
		}
	}
	return nil
}

// merge finds the rows for which the first WHEN that applies writes.
func (b *builder) merge() ([]companion, error) {
	target := b.st.Target()
	t, err := find(b.st.Dialect, target.Name.Table)
	if err != nil {
		return nil, err
	}
	var all []companion
	for _, m := range []sqltext.Match{sqltext.Matched, sqltext.NotMatchedBySource} {
		one := builder{st: b.st, args: b.args, reuse: map[int]int{}}
		if err := one.matched(t, target, m); err != nil {
			return nil, err
		}
		all = append(all, one.done(t))
	}
	return all, nil
}

func (b *builder) matched(t *table, target *sqltext.Table, m sqltext.Match) error {
	if err := b.with(""); err != nil {
		return err
	}
	b.keyOf(t, b.reference(target))
	if err := b.asTarget(target); err != nil {
		return err
	}
	var err error
	if m == sqltext.Matched {
		err = errors.Join(b.clause(", ", b.st.From, ""), b.clause(" WHERE (", b.st.On, ")"))
	} else {
		b.sql(" WHERE NOT EXISTS (SELECT 1 FROM ")
		err = errors.Join(b.slice(b.st.From), b.clause(" WHERE (", b.st.On, "))"))
	}
	b.sql(" AND CASE WHEN false THEN false")
	for _, w := range b.st.Whens {
		if w.Match != m {
			continue
		}
		b.sql(" WHEN true")
		err = errors.Join(err, b.clause(" AND (", w.Cond, ")"))
		if w.Kind == 0 {
			b.sql(" THEN false")
		} else {
			b.sql(" THEN true")
		}
	}
	b.sql(" ELSE false END")
	b.lock(target)
	return err
}
