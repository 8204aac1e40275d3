package pgsql

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// colHeader is the first column of the result of every captured statement: header
// rows written. The columns of each change follow, those of the statement itself
// behind those of the members of its WITH list.
const colHeader = 0

// The columns of one change.
const (
	colCaptured = iota // rows locked and captured before the change, NULL when the change itself captures
	colChanged         // rows changed
	colDue             // undo rows to write
	colUndo            // undo rows written
	colHeld            // key of one row whose undo row could not be written, NULL when there is none
	colMoved           // rows that took the primary key which another row had before
	colSame            // whether the name in the statement is the table that was asked for, NULL when another statement has run
	partCols
)

// stride is how many numbers one statement has for the order of its undo rows.
const stride = 1 << 10

// The second half of a key hash has a seed of its own: 128 bits together.
const seed2 = "7046029254386353131"

// text is a captured statement, ready to run.
type text struct {
	sql     string
	parts   []*writer // the changes, in the order of their columns
	leading int       // columns in front of the user's, but for own
	own     int       // columns of this module in front of the user's RETURNING, after the leading ones
	query   bool      // the statement itself reads: one column tells whether there is a row
	header  bool
	values  own
	unsent  bool  // nothing of it has run, see Base.Unsent
	changes int64 // see proxy.Captured.Changed
}

// writer builds the text of one change and its capture. All of its names begin
// with p, which occurs neither in the user's text nor among the columns.
type writer struct {
	*proxy.Capture
	own    own
	p      string
	head   string // CTE that writes the header
	ref    string // what the user's text calls the table
	target string // FROM item: the name as the user wrote it, and the alias
	key    map[string]bool
	ret    returning
	list   []string // of a member of WITH: the names of what RETURNING gives
	old    string   // name of the row before the change in RETURNING, of version18
	new    string
	rank   map[undo.Op]int64 // place of the undo rows among those of the statement

	// What a form leaves for undo and result.
	rows     string // CTE with the key hash (h) of every undo row due
	captured string // expression for colCaptured, "" when the change itself captures
	moved    string // expression for colMoved, "" when no key is changed
	ours     int    // columns of this module in RETURNING
}

// build writes the statement that runs r with its capture, or refuses it. It looks
// at nothing of r that differs between two runs but through v.
func build(r *proxy.Capture, v own) (*text, error) {
	switch r.Stmt.Kind {
	case sqltext.Select, sqltext.Insert, sqltext.Update, sqltext.Delete, sqltext.Merge:
	default:
		return nil, fmt.Errorf("capture statement of kind %d: not a change", r.Stmt.Kind)
	}
	p := prefix(r.Stmt.Text, append(slices.Clone(r.Members), r.Table))
	t := &text{header: r.Header, query: r.Stmt.Kind == sqltext.Select, values: v}
	recursive, list, err := withList(r, v, p)
	if err != nil {
		return nil, err
	}
	for _, m := range list {
		if m.write != nil {
			t.parts = append(t.parts, m.write)
		}
	}
	w := &writer{Capture: r, own: v, p: p}
	if t.query {
		err = w.checkQuery()
	} else if w, err = newWriter(r, v, p, p+"h"); err == nil {
		t.parts = append(t.parts, w)
	}
	if err == nil {
		err = order(t.parts)
	}
	if err != nil {
		return nil, err
	}
	var ctes []string
	if r.Header {
		ctes = append(ctes, p+"h AS ("+header(p, v)+")")
	}
	for _, m := range list {
		more, err := m.ctes()
		if err != nil {
			return nil, err
		}
		ctes = append(ctes, more...)
	}
	if !t.query {
		more, err := w.change()
		if err != nil {
			return nil, err
		}
		ctes = append(ctes, more...)
	}
	t.leading, t.own = 1+len(t.parts)*partCols, w.ours
	t.sql = "WITH " + recursive + strings.Join(ctes, ",\n") + "\n" + t.result(w)
	return t, nil
}

// newWriter prepares the change r.Stmt of r.Table. head is the CTE that writes
// the header.
func newWriter(r *proxy.Capture, v own, p, head string) (*writer, error) {
	s := r.Stmt
	w := &writer{
		Capture: r, own: v, p: p, head: head, ref: ident(s.Target().Name.Table), target: v.piece(s, s.Target().NameSpan), rows: "u",
		rank: map[undo.Op]int64{undo.Insert: 1},
	}
	if s.Target().Only {
		w.target = "ONLY " + w.target
	}
	if s.Target().Alias != "" {
		w.ref = s.Slice(s.Target().AliasSpan)
		w.target += " AS " + v.piece(s, s.Target().AliasSpan)
	}
	w.key = make(map[string]bool, len(r.Table.Key))
	for _, k := range r.Table.Key {
		w.key[r.Table.Columns[k].Name] = true
	}
	if err := w.check(); err != nil {
		return nil, err
	}
	w.ret = splitReturning(s)
	return w, nil
}

// change writes the CTEs that change the rows (u) and write their undo rows (w).
func (w *writer) change() ([]string, error) {
	modern := version(w.Table) >= version18
	switch s := w.Stmt; {
	case s.Kind == sqltext.Update && modern:
		return w.updateModern(), nil
	case s.Kind == sqltext.Update:
		return w.update()
	case s.Kind == sqltext.Delete:
		return w.delete(), nil
	case s.Kind == sqltext.Merge && modern:
		return w.merge(), nil
	case s.Kind == sqltext.Merge:
		return nil, w.old18("merge", "MERGE", "use UPDATE, INSERT and DELETE")
	case len(s.Upserts) == 0 || s.Upserts[0].Nothing:
		return w.insert()
	case modern:
		return w.upsertModern()
	default:
		return w.upsert()
	}
}

// old18 refuses what needs RETURNING OLD and NEW.
func (w *writer) old18(code, what, hint string) error {
	return &gtx.UnsupportedError{
		Code: code, Reason: fmt.Sprintf("%s is captured by RETURNING OLD and NEW, and the server is PostgreSQL %d", what, version(w.Table)/10000),
		Hint: "use PostgreSQL 18 or newer, or " + hint,
	}
}

// rekeys tells whether a SET list names a column of the primary key.
func (w *writer) rekeys(set []sqltext.Column) bool {
	return slices.ContainsFunc(set, func(c sqltext.Column) bool { return w.key[c.Name] })
}

func (w *writer) cte(name, body string) string { return w.p + name + " AS (" + body + ")" }

// header inserts the branch (rule T1), and bounds lock waits of this local
// transaction when the session has no bound (rule W5). p begins its names.
func header(p string, v own) string {
	return fmt.Sprintf("INSERT INTO %s (xid, branch, mode, state, payload, created)"+
		" SELECT %s, %s, %d, %d, NULL, (EXTRACT(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::int8"+
		" FROM (SELECT CASE WHEN pg_catalog.current_setting('lock_timeout') = '0'"+
		" THEN pg_catalog.set_config('lock_timeout', '%s', true) END AS bound OFFSET 0) AS %ss WHERE bound IS DISTINCT FROM '' RETURNING 1",
		tableBranch, v.xid, v.branch, undo.ModeAT, undo.StateOpen, lockTimeout, p)
}

// where is the user's condition, after the header has been written (rule T1) and
// after more, which is not empty in the second of two readings of the condition.
func (w *writer) where(more string) string {
	var parts []string
	switch {
	case more != "":
		parts = append(parts, more)
	case w.Header:
		parts = append(parts, "(SELECT count(*) FROM "+w.head+") = 1")
	}
	if strings.TrimSpace(w.Stmt.Slice(w.Stmt.Where)) != "" {
		parts = append(parts, "("+w.piece(w.Stmt.Where)+"\n)")
	}
	if parts == nil {
		return ""
	}
	return " " + w.word("WHERE", w.Stmt.Where) + " " + strings.Join(parts, " AND ")
}

// images gives the key hash, the key's image, the image and the digest of a row.
func (w *writer) images(row string) (hash, key, image, sum string) {
	return keyHash(w.Table, row), keyImage(w.Table, row), rowImage(w.Table, row), rowDigest(w.Table, row)
}

// names gives the columns of the change: names of this module, and of a member of
// WITH one for each that its RETURNING gives.
func (w *writer) names(names ...string) string {
	for i, n := range names {
		names[i] = w.p + n
	}
	for i := range w.list {
		names = append(names, w.p+"c"+strconv.Itoa(i))
	}
	return strings.Join(names, ", ")
}

// returningOf gives a RETURNING list: ours, and the user's behind it.
func (w *writer) returningOf(ours ...string) string {
	w.ours = len(ours)
	text := "\n RETURNING " + w.ret.with + strings.Join(ours, ", ")
	if w.ret.list != "" {
		text += ", " + w.piece(sqltext.Span{Start: w.ret.at, End: w.ret.at + len(w.ret.list)}) + "\n"
	}
	return text
}

// undo writes the undo rows, or moves those of the own XID (rule T4); the table
// at Dialect lists the cases. A row that is left out is held by
// another XID or dirty. The five columns of an undo row come from the item x.
//
// The numbers of the kinds are those of order; alone, inserted rows have a higher
// one: the undo of a row that changed its key removes the new row before it makes
// the old one.
func (w *writer) undo(op, image, sum, after, from string) string {
	place := func(op undo.Op) string { return w.own.seq + " + " + strconv.FormatInt(w.rank[op], 10) }
	var seq string
	switch op {
	case opInsert:
		seq = place(undo.Insert)
	case opUpdate:
		seq = place(undo.Update)
	case opDelete:
		seq = place(undo.Delete)
	default:
		seq = fmt.Sprintf("CASE %s WHEN 'I' THEN %s WHEN 'D' THEN %s ELSE %s END", op, place(undo.Insert), place(undo.Delete), place(undo.Update))
	}
	return w.cte("w", fmt.Sprintf("INSERT INTO %s AS o (tbl, keyh, xid, branch, seq, op, before_img, before_sum, after_img, schema_fp)"+
		" SELECT %s, x.%sh, %s, %s, %s, %s, %s, %s, %s, %s FROM %s"+
		" ON CONFLICT (tbl, keyh) DO UPDATE SET"+
		" op = CASE WHEN o.op = 'I' THEN 'I' WHEN excluded.op = 'D' THEN 'D' ELSE 'U' END,"+
		" branch = CASE WHEN o.op = 'I' OR o.op = 'U' AND excluded.op = 'U' THEN o.branch ELSE excluded.branch END,"+
		" seq = CASE WHEN o.op = 'I' OR o.op = 'U' AND excluded.op = 'U' THEN o.seq ELSE excluded.seq END,"+
		" after_img = excluded.after_img"+
		" WHERE o.xid = excluded.xid AND o.after_img IS NOT DISTINCT FROM excluded.before_sum RETURNING o.keyh",
		tableUndo, literal(w.Table.ID), w.p, w.own.xid, w.own.branch, seq, op,
		image, sum, after, literal(w.Table.Fingerprint), from))
}

// undoPairs writes the undo rows of a statement that may change keys, from the
// FROM items before (h, i, s) and after (h, k, a): a key only before is a row
// that vanished, a key only after a new one.
func (w *writer) undoPairs(before, after string) []string {
	w.rows = "q"
	p := w.p
	return []string{
		w.cte("q", fmt.Sprintf("SELECT COALESCE(b.%[1]sh, n.%[1]sh) AS %[1]sh, CASE WHEN b.%[1]sh IS NULL THEN 'I' WHEN n.%[1]sh IS NULL THEN 'D' ELSE 'U' END AS %[1]so,"+
			" COALESCE(b.%[1]si, n.%[1]sk) AS %[1]si, b.%[1]ss, n.%[1]sa FROM %[2]s AS b FULL JOIN %[3]s AS n ON b.%[1]sh = n.%[1]sh", p, before, after)),
		w.undo("x."+p+"o", "x."+p+"i", "x."+p+"s", "x."+p+"a", p+"q AS x"),
	}
}

// counts are the leading columns of one change.
func (w *writer) counts() string {
	count := func(cte string) string { return "(SELECT count(*) FROM " + w.p + cte + ")" }
	captured, moved, same := "NULL::int8", "0::int8", w.own.checked(readAttr(w.Table).same(w.Stmt.Target().Name))
	if w.captured != "" {
		captured = w.captured
	}
	if w.moved != "" {
		moved = w.moved
	}
	held := "CASE WHEN " + count("w") + " <> " + count(w.rows) + " THEN (SELECT x." + w.p + "h FROM " + w.p + w.rows + " AS x WHERE NOT EXISTS (SELECT FROM " +
		w.p + "w AS y WHERE y.keyh = x." + w.p + "h) LIMIT 1) END"
	return strings.Join([]string{captured, count("u"), count(w.rows), count("w"), held, moved, same}, ", ")
}

// result selects the counts, and the user's rows behind them: those of the change
// w or, where w writes nothing, of the query itself. The header stands in front of
// the join, so that it is written first (rule T1).
func (t *text) result(w *writer) string {
	header := "(SELECT " + mark(w.own.xid) + " AS n)"
	if t.header {
		header = "(SELECT count(*) + " + mark(w.own.xid) + " AS n FROM " + w.p + "h)"
	}
	sql := "SELECT " + w.p + "o.n"
	for _, part := range t.parts {
		sql += ",\n" + part.counts()
	}
	switch {
	case t.query:
		text := w.piece(sqltext.Span{Start: begin(w.Stmt), End: w.Stmt.Span.End})
		return sql + ", " + w.p + "r.* FROM " + header + " AS " + w.p + "o LEFT JOIN (SELECT true, " + w.p + "s.* FROM (" + text + "\n) AS " + w.p + "s) AS " + w.p + "r ON true"
	case w.ret.list == "":
		return sql + " FROM " + header + " AS " + w.p + "o"
	}
	return sql + ", " + w.p + "r.* FROM " + header + " AS " + w.p + "o LEFT JOIN " + w.p + "u AS " + w.p + "r ON true"
}

// prefix gives the beginning of all names of this module in one statement. Some
// of the tables may be nil.
func prefix(sql string, tables []*undo.Table) string {
	sql = strings.ToLower(sql)
	taken := func(p string) bool {
		if strings.Contains(sql, p) {
			return true
		}
		for _, t := range tables {
			if t != nil && slices.ContainsFunc(t.Columns, func(c undo.Column) bool { return strings.HasPrefix(strings.ToLower(c.Name), p) }) {
				return true
			}
		}
		return false
	}
	p := "_gtx_"
	for n := 1; taken(p); n++ {
		p = "_gtx" + strconv.Itoa(n) + "_"
	}
	return p
}
