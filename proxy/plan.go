package proxy

import (
	"context"
	"database/sql/driver"
	"fmt"
	"slices"
	"strings"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// plan is the text of a SELECT with columns that tell the fate of its rows:
//
//	a row that is locked   the key hash of the row; a look for its undo row follows, for the
//	                       statement may have waited for the lock and then shows a row
//	                       that is newer than all it sees of gtx_undo
//	a row that is not      the XID of its undo row: one statement has one snapshot, and the
//	                       undo row commits together with the row
//	groups of rows         the least XID of the undo rows of all rows that the condition
//	                       selects, in the same snapshot. Where they are locked a second
//	                       statement reads the key hashes of the rows that are locked now
//	a table of unknown key the XID of any undo row of the table
type plan struct {
	text  string
	from  []copied // what in it is the user's
	args  []driver.NamedValue
	extra []extra // the columns behind the caller's

	after      string // the second statement, "" for none
	afterArgs  []driver.NamedValue
	afterExtra []extra

	whole   []string // tables of which no row may be held
	locking bool
	noWait  bool
	skip    bool
	bounds  bool
	once    bool // the text has keys or an XID in it and will not come again
}

// extra is a column behind those of the caller.
type extra struct {
	id   string // of the table
	hash bool   // a key hash, else an XID
}

// source is a table that a SELECT reads.
type source struct {
	id     string
	table  *undo.Table // nil: its rows cannot be told apart
	ref    string      // how the statement reaches its columns
	locked bool
}

// collect sorts what the extra columns say.
func (p *plan) collect(lines [][]string, extra []extra, found map[string]map[string]bool) error {
	for _, line := range lines {
		for i, e := range extra {
			switch text := line[i]; {
			case text == "":
			case text == Moved:
				return errMoved
			case !e.hash:
				return conflict(e.id, text)
			default:
				if found[e.id] == nil {
					found[e.id] = map[string]bool{}
				}
				found[e.id][text] = true
			}
		}
	}
	return nil
}

// plan finds out what to ask. Nil: the statement reads no table.
func (r *reader) plan(ctx context.Context) (*plan, error) {
	read := sqltext.ParseRead(r.s, r.c.mode)
	if read != nil && len(read.Tables) == 0 && !read.Nested {
		return nil, nil
	}
	p := &plan{text: r.s.Text, args: r.args, locking: r.s.Locking}
	if err := r.refuse(ctx, p, read); err != nil {
		return nil, err
	}
	sources, err := r.sources(ctx, p, read)
	if err != nil {
		return nil, err
	}
	e := &edits{s: r.s, args: r.args}
	one := !read.Grouped && (p.locking && r.s.Dialect == sqltext.Postgres || onlyRows(read.Computed))
	switch {
	case one:
		r.byRow(p, e, read, sources)
	case !p.locking:
		err = r.byGroup(p, e, read, sources)
	default:
		err = r.afterwards(p, read, sources)
	}
	if err != nil {
		return nil, err
	}
	var conditions []string
	if p.skip && one {
		if conditions, err = r.leaveOut(ctx, sources); err != nil {
			return nil, err
		}
		p.once = len(conditions) > 0
	}
	if bound := r.c.res.Dialect.BoundWait(); p.locking && bound != "" && r.b != nil && !r.b.header && !r.b.bounded {
		conditions, p.bounds = append(conditions, bound), true
	}
	e.condition(read, conditions)
	p.text, p.args = e.result()
	p.from = e.from
	p.once = p.once || !p.locking && !r.own.IsZero()
	return p, nil
}

// refuse looks at what can be known from the text and the session.
func (r *reader) refuse(ctx context.Context, p *plan, read *sqltext.Read) error {
	if r.asked {
		if dirty, err := r.dirty(ctx); err != nil {
			return err
		} else if dirty {
			return errDirty
		}
	}
	if !p.locking {
		if read == nil || read.Nested {
			return &gtx.UnsupportedError{
				Code: "read-committed", Reason: "gtx.ReadCommitted was asked for a SELECT with UNION, WITH, a subquery or a function in FROM: its rows cannot be told",
				Hint: "join tables in one SELECT, or read them one by one",
			}
		}
		return nil
	}
	refuse := func(reason, hint string) error {
		return &gtx.UnsupportedError{Code: "locking-select", Reason: reason, Hint: hint}
	}
	if read == nil || len(read.Locks) == 0 {
		return refuse("a locking SELECT inside a subquery, a WITH list or a UNION, or over a function: the rows that it locks cannot be told",
			"lock the rows of tables and joins in one SELECT")
	}
	for _, k := range read.Locks {
		if k.Key {
			return refuse("FOR KEY SHARE does not keep others from changing the row", "use FOR SHARE")
		}
		p.noWait = p.noWait || k.NoWait
		p.skip = p.skip || k.Skip
	}
	if r.asked && read.Nested {
		return refuse("gtx.ReadCommitted was asked for a locking SELECT with a subquery, whose rows are not locked", "join the tables")
	}
	return nil
}

var errDirty = &gtx.UnsupportedError{
	Code: "read-committed", Reason: "gtx.ReadCommitted was asked for in a local transaction or a session with READ UNCOMMITTED, which sees rows without their undo rows",
	Hint: "use another isolation level",
}

// dirty tells that the SELECT runs with READ UNCOMMITTED.
func (r *reader) dirty(ctx context.Context) (bool, error) {
	const readUncommitted = 1 // the number of sql.IsolationLevel
	level, c := driver.IsolationLevel(0), r.c
	switch {
	case r.b != nil:
		level = r.b.opts.Isolation
	case c.plain:
		level = c.plainIsolation
	}
	ask := c.res.Dialect.DirtySession()
	if level != 0 || ask == "" || c.committed {
		return level == readUncommitted, nil
	}
	lines, err := c.query(ctx, ask)
	if err != nil {
		return false, fmt.Errorf("ask for the isolation level: %w", err)
	}
	c.committed = len(lines) == 0
	return !c.committed, nil
}

// sources finds the tables, and which of them are locked.
func (r *reader) sources(ctx context.Context, p *plan, read *sqltext.Read) ([]source, error) {
	all := false
	of := map[string]bool{}
	for _, k := range read.Locks {
		all = all || k.Of == nil
		for _, name := range k.Of {
			of[strings.ToLower(name)] = true
		}
	}
	var list []source
	for i := range read.Tables {
		t := &read.Tables[i]
		s := source{ref: r.s.Slice(t.NameSpan), locked: all || of[strings.ToLower(t.Exposed())]}
		if t.Alias != "" {
			s.ref = r.s.Slice(t.AliasSpan)
		}
		if !s.locked && !r.asked {
			continue
		}
		if strings.HasPrefix(strings.ToLower(t.Alias), "gtx_") {
			return nil, &gtx.UnsupportedError{Code: "alias", Reason: "the alias " + t.Alias + " begins with gtx_, which is reserved", Hint: "choose another alias"}
		}
		var err error
		if s.id, s.table, err = r.c.source(ctx, t.Name); err != nil {
			return nil, err
		}
		if s.table == nil && s.locked {
			p.whole = append(p.whole, s.id)
		}
		list = append(list, s)
	}
	return list, nil
}

// byRow puts a column for each table behind the list.
func (r *reader) byRow(p *plan, e *edits, read *sqltext.Read, sources []source) {
	d := r.c.res.Dialect
	for _, s := range sources {
		switch {
		case s.table == nil && s.locked: // p.whole
		case s.table == nil:
			e.column(p, read, s.id, "("+d.HeldIn(s.id, r.own, nil)+")", false)
		case s.locked:
			e.column(p, read, s.id, d.KeyHash(s.table, s.ref), true)
		default:
			e.column(p, read, s.id, d.Held(s.table, s.ref, r.own), false)
		}
	}
}

// byGroup puts a column for each table behind the list, over all rows that the
// condition selects.
func (r *reader) byGroup(p *plan, e *edits, read *sqltext.Read, sources []source) error {
	if !steady(read.Conditions, true) {
		return &gtx.UnsupportedError{
			Code: "read-committed", Reason: "gtx.ReadCommitted was asked for rows that are grouped, and the condition calls a function that is not known to give the same answer twice",
			Hint: "read the rows and group them in the program",
		}
	}
	d := r.c.res.Dialect
	for _, s := range sources {
		if s.table == nil {
			e.column(p, read, s.id, "("+d.HeldIn(s.id, r.own, nil)+")", false)
			continue
		}
		e.column(p, read, s.id, "(SELECT min("+d.Held(s.table, s.ref, r.own)+")", false)
		e.numbered = true
		e.again(" FROM ", read.From, "")
		e.again(" WHERE (", read.Where, "\n)")
		e.add(")")
	}
	return nil
}

// afterwards reads the key hashes of grouped rows when they are locked: those
// that the statement has seen are still there, unchanged.
func (r *reader) afterwards(p *plan, read *sqltext.Read, sources []source) error {
	refuse := func(reason string) error {
		return &gtx.UnsupportedError{
			Code: "locking-select", Reason: "a locking SELECT that may group rows, " + reason, Hint: "lock the rows in one SELECT, then group them in another",
		}
	}
	switch {
	case r.s.Dialect == sqltext.Postgres:
		return refuse("which PostgreSQL does not have")
	case read.Nested:
		return refuse("with a subquery")
	case read.Limited && !read.Grouped:
		return refuse("with LIMIT: more rows would be locked")
	case !steady(read.Conditions, false):
		return refuse("and a condition with a function that is not known to give the same answer twice")
	case slices.ContainsFunc(read.Locks, func(k sqltext.RowLock) bool { return k.Of != nil }):
		return refuse("and rows of one table only")
	}
	e := &edits{s: r.s, args: r.args}
	e.add("SELECT 1")
	for _, s := range sources {
		if s.table != nil {
			p.afterExtra = append(p.afterExtra, extra{s.id, true})
			e.add(", " + r.c.res.Dialect.KeyHash(s.table, s.ref))
		}
	}
	if p.afterExtra == nil {
		return nil
	}
	e.again(" FROM ", read.From, "")
	e.again(" WHERE (", read.Where, "\n)")
	e.again(" ", read.Lock, "")
	p.after, p.afterArgs = e.text.String(), e.taken
	return nil
}

// leaveOut gives conditions by which SKIP LOCKED passes by the rows that are held
// now.
func (r *reader) leaveOut(ctx context.Context, sources []source) ([]string, error) {
	var conditions []string
	for _, s := range sources {
		if s.table == nil || !s.locked {
			continue
		}
		lines, err := r.freshly(ctx, r.c.res.Dialect.HeldKeys(s.id, r.own, maxLeftOut))
		if err != nil {
			return nil, fmt.Errorf("look for held rows of %s: %w", s.id, err)
		}
		if len(lines) == 0 {
			continue
		}
		hashes := make([]string, len(lines))
		for i, l := range lines {
			hashes[i] = "'" + l[0] + "'"
		}
		conditions = append(conditions, r.c.res.Dialect.KeyHash(s.table, s.ref)+" NOT IN ("+strings.Join(hashes, ",")+")")
	}
	return conditions, nil
}

// maxLeftOut bounds how many held rows SKIP LOCKED passes by; it waits for
// others.
const maxLeftOut = 1000
