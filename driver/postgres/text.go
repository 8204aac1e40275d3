package postgres

import (
	"fmt"
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
	colUndo            // undo rows written
	colHeld            // key of one row whose undo row could not be written, NULL when there is none
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
	after  string // digest of the row
	image  string
	hash   string
}

// build writes the statement that runs r with its capture, or refuses it.
func build(r *proxy.Capture) (*text, error) {
	if err := check(r); err != nil {
		return nil, err
	}
	s := r.Stmt
	w := &writer{Capture: r, p: prefix(s.Text, r.Table), ref: ident(s.Target().Name.Table), target: s.Slice(s.Target().NameSpan)}
	if s.Target().Alias != "" {
		w.ref = s.Slice(s.Target().AliasSpan)
		w.target += " AS " + w.ref
	}
	w.after = digest(w.ref + ".*")
	w.image = rowImage(r.Table, w.ref)
	w.hash = keyHash(r.Table, w.ref)

	var ctes []string
	if r.Header {
		ctes = append(ctes, w.cte("h", w.header()))
	}
	switch s.Kind {
	case sqltext.Update:
		ctes = append(ctes, w.update()...)
	case sqltext.Delete:
		ctes = append(ctes, w.delete()...)
	default:
		body, err := insertBody(s)
		if err != nil {
			return nil, err
		}
		ctes = append(ctes, w.insert(body)...)
	}
	return &text{
		sql: "WITH " + strings.Join(ctes, ",\n") + "\n" + w.result(), captured: s.Kind == sqltext.Update,
		header: r.Header, own: map[sqltext.Kind]int{sqltext.Update: 2, sqltext.Delete: 3, sqltext.Insert: 3}[s.Kind],
	}, nil
}

// check refuses what the texts below would not protect.
func check(r *proxy.Capture) error {
	s := r.Stmt
	if s.Kind != sqltext.Insert && s.Kind != sqltext.Update && s.Kind != sqltext.Delete {
		return fmt.Errorf("capture statement of kind %d: not a change", s.Kind)
	}
	if len(r.Table.Key) == 0 {
		return noKey(r.Table.ID)
	}
	for _, span := range []sqltext.Span{s.Target().NameSpan, s.Target().AliasSpan, s.Set, s.Where, s.Returning} {
		if !closed(s.Slice(span)) {
			return &gtx.UnsupportedError{Code: "unbalanced", Reason: "a part of the statement ends inside a string, a comment or brackets"}
		}
	}
	if s.Kind != sqltext.Update {
		return nil
	}
	if len(s.SetColumns) == 0 {
		return &gtx.UnsupportedError{Code: "set-list", Reason: "the columns of SET are not known"}
	}
	key := make(map[string]bool, len(r.Table.Key))
	for _, k := range r.Table.Key {
		key[r.Table.Columns[k].Name] = true
	}
	always := make(map[string]bool)
	for _, c := range r.Table.Columns {
		always[c.Name] = hasAttr(c, attrAlways)
	}
	for _, column := range s.SetColumns {
		name := column.Name
		switch {
		case key[name]:
			return &gtx.UnsupportedError{
				Code: "key-update", Reason: fmt.Sprintf("the statement changes column %q of the primary key of %s", name, r.Table.ID),
				Hint: "delete the row and insert another",
			}
		case always[name]:
			return &gtx.UnsupportedError{
				Code: "identity-update", Reason: fmt.Sprintf("column %q of %s is GENERATED ALWAYS AS IDENTITY and could not be set back", name, r.Table.ID),
			}
		}
	}
	return nil
}

func (w *writer) cte(name, body string) string { return w.p + name + " AS (" + body + ")" }

// header inserts the branch (rule T1), and bounds lock waits of this local
// transaction when the session has no bound (rule W5).
func (w *writer) header() string {
	return fmt.Sprintf("INSERT INTO %s (xid, branch, mode, state, payload, created)"+
		" SELECT %s, %d, %d, %d, NULL, (EXTRACT(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::int8"+
		" FROM (SELECT CASE WHEN pg_catalog.current_setting('lock_timeout') = '0'"+
		" THEN pg_catalog.set_config('lock_timeout', '%s', true) END AS bound OFFSET 0) AS %ss WHERE bound IS DISTINCT FROM '' RETURNING 1",
		tableBranch, literal(w.XID.String()), int64(w.Branch), undo.ModeAT, undo.StateOpen, lockTimeout, w.p)
}

// where is the user's condition, after the header has been written (rule T1).
func (w *writer) where() string {
	var parts []string
	if w.Header {
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

// update locks the rows, reads the before images of the locked versions, and
// changes exactly those rows, found again by their key.
func (w *writer) update() []string {
	var keys, names []string
	for n, k := range w.Table.Key {
		keys = append(keys, w.ref+"."+ident(w.Table.Columns[k].Name))
		names = append(names, w.p+"k"+strconv.Itoa(n))
	}
	var locked []string
	for n, k := range keys {
		locked = append(locked, k+" AS "+names[n])
	}
	return []string{
		w.cte("b", "SELECT "+strings.Join(locked, ", ")+", "+w.hash+" AS "+w.p+"h, "+w.image+" AS "+w.p+"i, "+w.after+" AS "+w.p+"s FROM "+
			w.target+w.where()+" FOR NO KEY UPDATE"),
		w.p + "u (" + w.p + "h, " + w.p + "a) AS (UPDATE " + w.target + " SET " + w.Stmt.Slice(w.Stmt.Set) + "\n WHERE (" + strings.Join(keys, ", ") +
			") IN (SELECT " + strings.Join(names, ", ") + " FROM " + w.p + "b) RETURNING " + w.hash + ", " + w.after + w.returning() + ")",
		w.undo(undo.Update, "b."+w.p+"i", "b."+w.p+"s", "u."+w.p+"a", w.p+"b AS b JOIN "+w.p+"u AS u ON u."+w.p+"h = b."+w.p+"h"),
	}
}

// delete captures by RETURNING, which gives the version that was deleted.
func (w *writer) delete() []string {
	return []string{
		w.p + "u (" + w.p + "h, " + w.p + "i, " + w.p + "s) AS (DELETE FROM " + w.target + w.where() +
			" RETURNING " + w.hash + ", " + w.image + ", " + w.after + w.returning() + ")",
		w.undo(undo.Delete, "u."+w.p+"i", "u."+w.p+"s", "NULL", w.p+"u AS u"),
	}
}

// insert captures by RETURNING; body is the user's text after the target.
func (w *writer) insert(body string) []string {
	return []string{
		w.p + "u (" + w.p + "h, " + w.p + "i, " + w.p + "a) AS (INSERT INTO " + w.target + body +
			"\n RETURNING " + w.hash + ", " + keyImage(w.Table, w.ref) + ", " + w.after + w.returning() + ")",
		w.undo(undo.Insert, "u."+w.p+"i", "NULL", "u."+w.p+"a", w.p+"u AS u"),
	}
}

func (w *writer) returning() string {
	if list := w.Stmt.Slice(w.Stmt.Returning); strings.TrimSpace(list) != "" {
		return ", " + list + "\n"
	}
	return ""
}

// undo writes the undo rows, or moves those of the own XID (rule T4); the table
// at Dialect lists the cases. A row that is left out is held by
// another XID or dirty.
func (w *writer) undo(op undo.Op, image, sum, after, from string) string {
	return w.cte("w", fmt.Sprintf("INSERT INTO %s AS o (tbl, keyh, xid, branch, seq, op, before_img, before_sum, after_img, schema_fp)"+
		" SELECT %s, u.%sh, %s, %d, %d, %s, %s, %s, %s, %s FROM %s"+
		" ON CONFLICT (tbl, keyh) DO UPDATE SET"+
		" op = CASE WHEN o.op = 'I' THEN 'I' WHEN excluded.op = 'D' THEN 'D' ELSE 'U' END,"+
		" branch = CASE WHEN o.op = 'I' OR o.op = 'U' AND excluded.op = 'U' THEN o.branch ELSE excluded.branch END,"+
		" seq = CASE WHEN o.op = 'I' OR o.op = 'U' AND excluded.op = 'U' THEN o.seq ELSE excluded.seq END,"+
		" after_img = excluded.after_img"+
		" WHERE o.xid = excluded.xid AND o.after_img IS NOT DISTINCT FROM excluded.before_sum RETURNING o.keyh",
		tableUndo, literal(w.Table.ID), w.p, literal(w.XID.String()), int64(w.Branch), w.Seq, literal(string(op)),
		image, sum, after, literal(w.Table.Fingerprint), from))
}

// result selects the counts, and the user's RETURNING behind them. The header
// stands in front of the join, so that it is written first (rule T1).
func (w *writer) result() string {
	count := func(cte string) string { return "(SELECT count(*) FROM " + w.p + cte + ")" }
	captured, header, same := "NULL::int8", "(SELECT 0::int8 AS n)", "true"
	if w.Stmt.Kind == sqltext.Update {
		captured = count("b")
	}
	if w.Header {
		header = "(SELECT count(*) AS n FROM " + w.p + "h)"
	}
	if t := w.Stmt.Target().Name; t.Schema == "" {
		same = "pg_catalog.to_regclass(" + literal(ident(t.Table)) + ") = pg_catalog.to_regclass(" + literal(w.Table.ID) + ")"
	}
	held := "CASE WHEN " + count("w") + " <> " + count("u") + " THEN (SELECT x." + w.p + "h FROM " + w.p + "u AS x WHERE NOT EXISTS (SELECT FROM " +
		w.p + "w AS y WHERE y.keyh = x." + w.p + "h) LIMIT 1) END"
	sql := "SELECT " + strings.Join([]string{w.p + "o.n", captured, count("u"), count("w"), held, same}, ", ")
	if w.returning() == "" {
		return sql + " FROM " + header + " AS " + w.p + "o"
	}
	return sql + ", " + w.p + "r.* FROM " + header + " AS " + w.p + "o LEFT JOIN " + w.p + "u AS " + w.p + "r ON true"
}

// insertBody cuts the column list and VALUES out of an INSERT, and refuses
// anything between them and RETURNING that it does not know.
func insertBody(s *sqltext.Statement) (string, error) {
	refuse := func(reason string) (string, error) {
		return "", &gtx.UnsupportedError{Code: "insert-form", Reason: reason, Hint: "use INSERT ... VALUES"}
	}
	if len(s.Rows) == 0 || len(s.Rows[len(s.Rows)-1]) == 0 {
		return refuse("the INSERT has no VALUES rows")
	}
	start := max(s.Target().NameSpan.End, s.Target().AliasSpan.End)
	row := s.Rows[len(s.Rows)-1]
	end := skipBlank(s.Text, row[len(row)-1].Span.End)
	if end >= len(s.Text) || s.Text[end] != ')' {
		return refuse("the end of VALUES is not where it should be")
	}
	end++
	body := s.Text[start:end]
	if !closed(body) {
		return refuse("the VALUES end inside a string, a comment or brackets")
	}
	tail := skipBlank(s.Text, end)
	if s.Returning.Start < s.Returning.End {
		const word = "returning"
		if len(s.Text) < tail+len(word) || !strings.EqualFold(s.Text[tail:tail+len(word)], word) ||
			tail+len(word) > s.Returning.Start || skipBlank(s.Text, tail+len(word)) != skipBlank(s.Text, s.Returning.Start) {
			return refuse("something stands between VALUES and RETURNING")
		}
		tail = skipBlank(s.Text, s.Returning.End)
	}
	for tail < len(s.Text) && s.Text[tail] == ';' {
		tail = skipBlank(s.Text, tail+1)
	}
	if tail != len(s.Text) {
		return refuse("something follows the VALUES")
	}
	return body, nil
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
