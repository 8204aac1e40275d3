package postgres

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

// The leading columns of the result of every captured statement.
const (
	colHeader   = iota // header rows written
	colCaptured        // rows locked and captured before the change, NULL when the change itself captures
	colChanged         // rows changed
	colDue             // undo rows to write
	colUndo            // undo rows written
	colHeld            // key of one row whose undo row could not be written, NULL when there is none
	colMoved           // rows that took the primary key which another row had before
	colSame            // whether the name in the statement is the table that was asked for
	leading
)

// The second half of a key hash has a seed of its own: 128 bits together.
const seed2 = "7046029254386353131"

// text is a captured statement, ready to run.
type text struct {
	sql      string
	own      int  // columns of this module in front of the user's RETURNING, after the leading ones
	captured bool // colCaptured counts
	header   bool
}

// writer builds the text of one capture. All of its names begin with p, which
// occurs neither in the user's text nor among the columns.
type writer struct {
	*proxy.Capture
	p      string
	ref    string // what the user's text calls the table
	target string // FROM item: the name as the user wrote it, and the alias
	key    map[string]bool
	ret    returning
	old    string // name of the row before the change in RETURNING, of version18
	new    string

	// What a form leaves for undo and result.
	rows     string // CTE with the key hash (h) of every undo row due
	captured string // expression for colCaptured, "" when the change itself captures
	moved    string // expression for colMoved, "" when no key is changed
	own      int
}

// build writes the statement that runs r with its capture, or refuses it.
func build(r *proxy.Capture) (*text, error) {
	s := r.Stmt
	w := &writer{Capture: r, p: prefix(s.Text, r.Table), ref: ident(s.Target().Name.Table), target: s.Slice(s.Target().NameSpan), rows: "u"}
	if s.Target().Only {
		w.target = "ONLY " + w.target
	}
	if s.Target().Alias != "" {
		w.ref = s.Slice(s.Target().AliasSpan)
		w.target += " AS " + w.ref
	}
	w.key = make(map[string]bool, len(r.Table.Key))
	for _, k := range r.Table.Key {
		w.key[r.Table.Columns[k].Name] = true
	}
	if err := w.check(); err != nil {
		return nil, err
	}
	w.ret = splitReturning(s.Slice(s.Returning))
	ctes, err := w.change()
	if err != nil {
		return nil, err
	}
	if r.Header {
		ctes = append([]string{w.cte("h", header(w.p, r))}, ctes...)
	}
	recursive, users := withList(s)
	if users != "" {
		ctes = append([]string{users + "\n"}, ctes...)
	}
	return &text{
		sql: "WITH " + recursive + strings.Join(ctes, ",\n") + "\n" + w.result(), captured: w.captured != "", header: r.Header, own: w.own,
	}, nil
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

// check refuses what the texts below would not protect.
func (w *writer) check() error {
	s := w.Stmt
	if s.Kind != sqltext.Insert && s.Kind != sqltext.Update && s.Kind != sqltext.Delete && s.Kind != sqltext.Merge {
		return fmt.Errorf("capture statement of kind %d: not a change", s.Kind)
	}
	if len(w.Table.Key) == 0 {
		return noKey(w.Table.ID)
	}
	spans := []sqltext.Span{s.With, s.Target().NameSpan, s.Target().AliasSpan, s.Set, s.From, s.Where, s.Query, s.On, s.Returning}
	sets := [][]sqltext.Column{s.SetColumns}
	for _, u := range s.Upserts {
		spans = append(spans, u.Span, u.Target, u.Set, u.Where)
		sets = append(sets, u.SetColumns)
		if !u.Nothing && len(u.SetColumns) == 0 {
			return noSetList()
		}
	}
	for _, m := range s.Whens {
		spans = append(spans, m.Span)
		sets = append(sets, m.SetColumns)
		if m.Kind == sqltext.Update && len(m.SetColumns) == 0 {
			return noSetList()
		}
	}
	if s.Kind == sqltext.Update && len(s.SetColumns) == 0 {
		return noSetList()
	}
	for _, span := range spans {
		if !closed(s.Slice(span)) {
			return &gtx.UnsupportedError{Code: "unbalanced", Reason: "a part of the statement ends inside a string, a comment or brackets"}
		}
	}
	always := make(map[string]bool)
	for _, c := range w.Table.Columns {
		always[c.Name] = hasAttr(c, attrAlways)
	}
	for _, set := range sets {
		for _, c := range set {
			if always[c.Name] {
				return &gtx.UnsupportedError{
					Code: "identity-update", Reason: fmt.Sprintf("column %q of %s is GENERATED ALWAYS AS IDENTITY and could not be set back", c.Name, w.Table.ID),
				}
			}
		}
	}
	return nil
}

func noSetList() error {
	return &gtx.UnsupportedError{Code: "set-list", Reason: "the columns of SET are not known"}
}

// rekeys tells whether a SET list names a column of the primary key.
func (w *writer) rekeys(set []sqltext.Column) bool {
	return slices.ContainsFunc(set, func(c sqltext.Column) bool { return w.key[c.Name] })
}

func (w *writer) cte(name, body string) string { return w.p + name + " AS (" + body + ")" }

// header inserts the branch (rule T1), and bounds lock waits of this local
// transaction when the session has no bound (rule W5). p begins its names.
func header(p string, r *proxy.Capture) string {
	return fmt.Sprintf("INSERT INTO %s (xid, branch, mode, state, payload, created)"+
		" SELECT %s, %d, %d, %d, NULL, (EXTRACT(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::int8"+
		" FROM (SELECT CASE WHEN pg_catalog.current_setting('lock_timeout') = '0'"+
		" THEN pg_catalog.set_config('lock_timeout', '%s', true) END AS bound OFFSET 0) AS %ss WHERE bound IS DISTINCT FROM '' RETURNING 1",
		tableBranch, literal(r.XID.String()), int64(r.Branch), undo.ModeAT, undo.StateOpen, lockTimeout, p)
}

// where is the user's condition, after the header has been written (rule T1) and
// after more, which is not empty in the second of two readings of the condition.
func (w *writer) where(more string) string {
	var parts []string
	switch {
	case more != "":
		parts = append(parts, more)
	case w.Header:
		parts = append(parts, "(SELECT count(*) FROM "+w.p+"h) = 1")
	}
	if c := w.Stmt.Slice(w.Stmt.Where); strings.TrimSpace(c) != "" {
		parts = append(parts, "("+c+"\n)")
	}
	if parts == nil {
		return ""
	}
	return " WHERE " + strings.Join(parts, " AND ")
}

// images gives the key hash, the key's image, the image and the digest of a row.
func (w *writer) images(row string) (hash, key, image, sum string) {
	return keyHash(w.Table, row), keyImage(w.Table, row), rowImage(w.Table, row), digest(row + ".*")
}

// names gives names of this module, separated by commas.
func (w *writer) names(names ...string) string {
	for i, n := range names {
		names[i] = w.p + n
	}
	return strings.Join(names, ", ")
}

// returningOf gives a RETURNING list: ours, and the user's behind it.
func (w *writer) returningOf(ours ...string) string {
	w.own = len(ours)
	text := "\n RETURNING " + w.ret.with + strings.Join(ours, ", ")
	if w.ret.list != "" {
		text += ", " + w.ret.list + "\n"
	}
	return text
}

// undo writes the undo rows, or moves those of the own XID (rule T4); the table
// at Dialect lists the cases. A row that is left out is held by
// another XID or dirty. The five columns of an undo row come from the item x.
//
// Inserted rows have the higher of the two numbers of a statement: the undo of a
// row that changed its key removes the new row before it makes the old one.
func (w *writer) undo(op, image, sum, after, from string) string {
	seq := strconv.FormatInt(2*w.Seq, 10)
	switch op {
	case literal(string(undo.Insert)):
		seq = strconv.FormatInt(2*w.Seq+1, 10)
	case literal(string(undo.Update)), literal(string(undo.Delete)):
	default:
		seq = fmt.Sprintf("%d + CASE WHEN %s = 'I' THEN 1 ELSE 0 END", 2*w.Seq, op)
	}
	return w.cte("w", fmt.Sprintf("INSERT INTO %s AS o (tbl, keyh, xid, branch, seq, op, before_img, before_sum, after_img, schema_fp)"+
		" SELECT %s, x.%sh, %s, %d, %s, %s, %s, %s, %s, %s FROM %s"+
		" ON CONFLICT (tbl, keyh) DO UPDATE SET"+
		" op = CASE WHEN o.op = 'I' THEN 'I' WHEN excluded.op = 'D' THEN 'D' ELSE 'U' END,"+
		" branch = CASE WHEN o.op = 'I' OR o.op = 'U' AND excluded.op = 'U' THEN o.branch ELSE excluded.branch END,"+
		" seq = CASE WHEN o.op = 'I' OR o.op = 'U' AND excluded.op = 'U' THEN o.seq ELSE excluded.seq END,"+
		" after_img = excluded.after_img"+
		" WHERE o.xid = excluded.xid AND o.after_img IS NOT DISTINCT FROM excluded.before_sum RETURNING o.keyh",
		tableUndo, literal(w.Table.ID), w.p, literal(w.XID.String()), int64(w.Branch), seq, op,
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

// result selects the counts, and the user's RETURNING behind them. The header
// stands in front of the join, so that it is written first (rule T1).
func (w *writer) result() string {
	count := func(cte string) string { return "(SELECT count(*) FROM " + w.p + cte + ")" }
	captured, header, moved, same := "NULL::int8", "(SELECT 0::int8 AS n)", "0::int8", "true"
	if w.captured != "" {
		captured = w.captured
	}
	if w.moved != "" {
		moved = w.moved
	}
	if w.Header {
		header = "(SELECT count(*) AS n FROM " + w.p + "h)"
	}
	if t := w.Stmt.Target().Name; t.Schema == "" {
		same = "pg_catalog.to_regclass(" + literal(ident(t.Table)) + ") = pg_catalog.to_regclass(" + literal(w.Table.ID) + ")"
	}
	held := "CASE WHEN " + count("w") + " <> " + count(w.rows) + " THEN (SELECT x." + w.p + "h FROM " + w.p + w.rows + " AS x WHERE NOT EXISTS (SELECT FROM " +
		w.p + "w AS y WHERE y.keyh = x." + w.p + "h) LIMIT 1) END"
	sql := "SELECT " + strings.Join([]string{w.p + "o.n", captured, count("u"), count(w.rows), count("w"), held, moved, same}, ", ")
	if w.ret.list == "" {
		return sql + " FROM " + header + " AS " + w.p + "o"
	}
	return sql + ", " + w.p + "r.* FROM " + header + " AS " + w.p + "o LEFT JOIN " + w.p + "u AS " + w.p + "r ON true"
}

// prefix gives the beginning of all names of this module in one statement.
func prefix(sql string, t *undo.Table) string {
	sql = strings.ToLower(sql)
	taken := func(p string) bool {
		if strings.Contains(sql, p) {
			return true
		}
		for _, c := range t.Columns {
			if strings.HasPrefix(strings.ToLower(c.Name), p) {
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
