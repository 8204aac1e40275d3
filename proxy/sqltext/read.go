package sqltext

import "strings"

// Read is a SELECT of one level, cut so far that a column can be put behind its
// list and a condition behind its own.
type Read struct {
	// List is the select list with the words in front of it (ALL, DISTINCT).
	List Span
	// From is what stands behind FROM, without the word; empty when nothing is read.
	From Span
	// Tables are all tables that From names, in text order. Outside brackets From
	// holds nothing else: no query, no function, no name of a WITH list.
	Tables []Table
	// Where is the condition without the word.
	Where Span
	// Grouped: DISTINCT, GROUP BY, HAVING or WINDOW, so that a row of the result
	// need not be one row of each table. An aggregate alone does that too: see
	// Computed.
	Grouped bool
	// Limited: LIMIT, OFFSET or FETCH.
	Limited bool
	// Nested: a query stands in brackets somewhere.
	Nested bool
	// Computed are the functions, as in Statement.Functions, outside From and Where.
	Computed []string
	// Conditions are those in From and Where.
	Conditions []string
	// Locks are the locking clauses, each for other tables; Lock is where they all
	// stand.
	Locks []RowLock
	Lock  Span
}

// RowLock is one locking clause.
type RowLock struct {
	Key    bool     // FOR KEY SHARE of PostgreSQL, which most writers pass by
	Of     []string // the tables, as other parts of the statement name them, unquoted; nil for all
	NoWait bool     // NOWAIT, WAIT 0
	Skip   bool     // SKIP LOCKED
}

// Exposed is the name by which other parts of the statement reach the table.
func (t *Table) Exposed() string { return t.exposed() }

// ParseRead cuts s, which Parse has read in the same mode. Nil: it is not a
// SELECT of one level without a WITH list, or its FROM holds something else than
// tables and joins.
func ParseRead(s *Statement, m Mode) *Read {
	if s.Kind != Select || s.With != (Span{}) {
		return nil
	}
	l := lexers.Get().(*lexer)
	*l = lexer{text: s.Text, d: s.Dialect, m: m, toks: l.toks[:0], open: l.open[:0]}
	defer func() {
		if cap(l.toks) <= maxKeptTokens {
			*l = lexer{toks: l.toks, open: l.open}
			lexers.Put(l)
		}
	}()
	if l.run() != nil {
		return nil
	}
	from, to := 0, 0
	for i, t := range l.toks {
		if int(t.start) < s.Span.Start {
			from = i + 1
		}
		if int(t.start) < s.Span.End && t.kind != tEnd {
			to = i + 1
		}
	}
	if to <= from || to >= len(l.toks) {
		return nil
	}
	behind := l.toks[to]
	l.toks[to] = token{kind: tEnd, start: behind.start, end: behind.start}
	p := l.parser(from, to)
	p.st.Kind = Select
	return p.read()
}

// read cuts the SELECT whose first token stands at p.i.
func (p *parser) read() *Read {
	if p.word() != wSelect {
		return nil
	}
	r := &Read{}
	for i := p.first; i < p.last; i++ {
		if p.is(i, tOpen, '(') && p.queryAt(i+1) {
			r.Nested = true
		}
	}
	p.i++
	first := p.i
	for !p.at(tEnd) && (!p.clauseAt(p.i) || p.word() == wOn && p.toks[p.i-1].word == wDistinct) {
		// Other words may stand in front of it. IS DISTINCT FROM is taken for it, too.
		r.Grouped = r.Grouped || p.word() == wDistinct || p.says(p.i, "distinctrow")
		if p.word() == wFrom && p.toks[p.i-2].word != wIs && p.toks[p.i-2].word != wNot {
			return nil // SELECT DISTINCT FROM t of PostgreSQL has no list
		}
		p.i = p.skip(p.i)
	}
	if p.i == first || p.danglingOperator(p.i-1) || p.toks[p.i-1].word == wDistinct || p.toks[p.i-1].word == wAll {
		return nil
	}
	r.List = p.span(first, p.i)
	conditions, computed := &names{}, &names{}
	p.callsIn(computed, first, p.i)
	if p.word() == wFrom {
		p.i++
		from := p.i
		if !p.sources(r) {
			return nil
		}
		p.callsIn(conditions, from, p.i)
	}
	for !p.at(tEnd) {
		at := p.i
		into := computed
		if p.word() == wWhere {
			into = conditions
		}
		if !p.readClause(r) {
			return nil
		}
		p.callsIn(into, at, p.i)
	}
	r.Computed, r.Conditions = computed.list, conditions.list
	return r
}

// sources reads what stands behind FROM. DUAL of the MySQL family is no table.
func (p *parser) sources(r *Read) bool {
	from := p.i
	if p.family && p.says(p.i, "dual") && (p.toks[p.i+1].kind == tEnd || p.clauseAt(p.i+1)) {
		p.i++
		return true
	}
	if !p.readTables(r) || p.danglingOperator(p.i-1) {
		return false
	}
	r.From = p.span(from, p.i)
	return true
}

// readTables reads tables with commas and joins between them.
func (p *parser) readTables(r *Read) bool {
	for {
		if !p.tableItem(r) {
			return false
		}
		if p.joinConditions() != nil {
			return false
		}
		switch {
		case p.is(p.i, tOp, ','):
			p.i++
		case p.joinAt(p.i) || p.word() == wFull:
			if !p.readJoin() {
				return false
			}
		default:
			return true
		}
	}
}

// tableItem reads one table, or a bracket with tables. Brackets with an alias
// hide the names inside, a list of columns behind an alias renames them.
func (p *parser) tableItem(r *Read) bool {
	if p.open() {
		end := p.skip(p.i) - 1
		if p.queryAt(p.i + 1) {
			return false
		}
		p.i++
		if !p.readTables(r) || p.i != end {
			return false
		}
		p.i++
		return p.word() != wAs && !p.nameAt(p.i)
	}
	var t Table
	if len(r.Tables) == maxJoined || !p.readTable(&t) || p.open() {
		return false
	}
	r.Tables = append(r.Tables, t)
	return true
}

// readTable reads a table. Unlike in UPDATE an alias of SQLite needs no AS.
func (p *parser) readTable(t *Table) bool {
	if p.d != SQLite {
		return p.table(t) == nil
	}
	return p.name(t) == nil && p.aliasOf(t, false) == nil && p.indexHints(t) == nil
}

// readJoin reads the words of a join, of every dialect.
func (p *parser) readJoin() bool {
	if p.word() == wStraightJoin {
		p.i++
		return true
	}
	p.take(wNatural)
	switch p.word() {
	case wInner, wCross:
		p.i++
	case wLeft, wRight, wFull:
		p.i++
		p.accept("outer")
	}
	return p.take(wJoin)
}

func (p *parser) take(w word) bool {
	if p.word() != w {
		return false
	}
	p.i++
	return true
}

// readClause reads one clause behind the tables.
func (p *parser) readClause(r *Read) bool {
	if p.lockWords(p.i) > 0 {
		return p.rowLock(r)
	}
	w := p.word()
	p.i++
	switch w {
	case wWhere:
		if r.Where != (Span{}) {
			return false
		}
		var refusal *Refusal
		r.Where, refusal = p.whereBody()
		return refusal == nil
	case wGroup, wOrder:
		r.Grouped = r.Grouped || w == wGroup
		if !p.take(wBy) {
			return false
		}
	case wHaving, wWindow:
		r.Grouped = true
	case wLimit, wOffset:
		r.Limited = true
	case wFetch:
		if p.d != Postgres && p.d != MariaDB {
			return false
		}
		r.Limited = true
	default:
		return false
	}
	_, refusal := p.body()
	return refusal == nil
}

// rowLock reads a locking clause.
func (p *parser) rowLock(r *Read) bool {
	var k RowLock
	if r.Locks == nil {
		r.Lock.Start = int(p.toks[p.i].start)
	}
	k.Key = p.word() == wFor && p.toks[p.i+1].word == wKey
	p.i += p.lockWords(p.i)
	from := p.i
	if !p.lockOptions() {
		return false
	}
	for i := from; i < p.i; i++ {
		switch {
		case p.toks[i].word == wOf:
			for i++; p.nameAt(i); i++ {
				k.Of = append(k.Of, p.unquote(p.toks[i]))
				if !p.is(i+1, tOp, ',') {
					break
				}
				i++
			}
		case p.says(i, "nowait"):
			k.NoWait = true
		case p.says(i, "wait"):
			k.NoWait = strings.Trim(p.source(p.toks[i+1]), "0") == ""
		case p.says(i, "skip"):
			k.Skip = true
		}
	}
	r.Locks = append(r.Locks, k)
	r.Lock.End = int(p.toks[p.i-1].end)
	return true
}

// callsIn adds the functions that are called between two tokens.
func (p *parser) callsIn(all *names, from, to int) {
	q := *p
	q.first, q.last = from, to
	for _, name := range q.calls() {
		all.add(name)
	}
}
