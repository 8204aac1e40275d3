package mysql

import (
	"regexp"
	"strconv"

	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// newRowsTable is the temporary table that takes what a query gives.
const newRowsTable = "gtx_new"

// setsLastID finds LAST_INSERT_ID with an argument.
var setsLastID = regexp.MustCompile(`(?i)last_insert_id[\s` + "`" + `]*\(\s*[^)\s]`)

// fromQuery is an INSERT or REPLACE whose rows come from a query. The query runs
// once, so that it may give what it likes and no second answer can differ: into a
// temporary table whose columns have the types of the target's, from which the
// user's statement takes the rows. A key that a new row can have is in it.
type fromQuery struct {
	*packet
	r    *proxy.Capture
	ref  string
	cols []string // that the statement gives, quoted, in its order
	at   []int    // their indexes in Table.Columns, -1 for one that is not there
	// taken is where the packet fills the temporary table.
	taken int
}

func newFromQuery(p *packet, r *proxy.Capture) (*fromQuery, error) {
	s, t := r.Stmt, r.Table
	if mentions(s.Slice(s.Span), newRowsTable) {
		return nil, unsupported("own-table", newRowsTable+" is the name of the temporary table that capture takes, which hides any other", "rename the user's")
	}
	q := &fromQuery{packet: p, r: r, ref: s.Slice(s.Target().NameSpan)}
	names := s.Columns
	if names == nil {
		for i := range t.Columns {
			if !attrOf(&t.Columns[i]).invisible {
				names = append(names, t.Columns[i].Name)
			}
		}
	}
	for _, name := range names {
		q.cols, q.at = append(q.cols, ident(name)), append(q.at, index(t, name))
	}
	for _, k := range t.Key {
		if c := &t.Columns[k]; q.place(k) < 0 && !c.Auto {
			return nil, unsupported("key-default", "the key column "+c.Name+" has no value in the statement", "give its value")
		}
	}
	return q, nil
}

// place gives the position of a column in what the query gives, -1 when absent.
func (q *fromQuery) place(col int) int {
	for i, at := range q.at {
		if at == col {
			return i
		}
	}
	return -1
}

// name is the n-th column of the temporary table. It is none of the target, so
// that an assignment of ON DUPLICATE KEY UPDATE means what it did.
func (q *fromQuery) name(n int) string { return "gtx_c" + strconv.Itoa(n+1) }

// names lists the columns of the temporary table, behind prefix.
func (q *fromQuery) names() {
	for i := range q.cols {
		if i > 0 {
			q.add(",")
		}
		q.add(q.name(i))
	}
}

// insertQuery gives the form of INSERT and REPLACE with a query.
//
//	the query's rows into the temporary table
//	for IGNORE, REPLACE, ON DUPLICATE KEY UPDATE: capture of the rows in the way
//	the user's statement with the rows of the temporary table
//	capture of the rows of the target that have their keys
//	count
//
// Every row that the statement inserts has a key of the temporary table, and no row
// that was there before is captured for new: so if as many are captured as the
// statement says it has inserted, they are those.
func insertQuery(p *packet, r *proxy.Capture) (form, error) {
	q, err := newFromQuery(p, r)
	if err != nil {
		return form{}, err
	}
	if auto := q.generated(); auto != nil {
		return q.numbered(auto)
	}
	s := r.Stmt
	if setsLastID.MatchString(s.Slice(s.Query)) {
		return form{}, unsupported("volatile", "LAST_INSERT_ID with an argument in the query would not come back as the statement's", "compute the value in the program")
	}
	q.take()
	q.fits()
	var f form
	if s.Or != sqltext.OrFail || s.Upserts != nil {
		if f, err = q.upsert(); err != nil {
			return form{}, err
		}
	} else {
		// It inserts all of them, or fails.
		q.next()
		q.add("SET @gtx_n=(SELECT COUNT(*) FROM ", newRowsTable, ")")
		f.user = q.statement()
		returning(p, r)
		q.arrived(false)
		assert(p, r, "", "@gtx_n")
		if returns(s) {
			countReturned(p, r, "")
		}
	}
	q.drop()
	f.agree = func([]int64) bool { return true }
	if s.Or == sqltext.OrFail && s.Upserts == nil {
		f.agree = func(rows []int64) bool { return rows[f.user] == rows[q.taken] }
	}
	return f, nil
}

// take adds the temporary table and fills it. The outer join makes every column
// nullable, so that it is the target which refuses NULL. There is no key: the target
// says which rows are duplicates.
func (q *fromQuery) take() {
	s := q.r.Stmt
	q.temporary = true
	q.next()
	q.add("DROP TEMPORARY TABLE IF EXISTS ", newRowsTable)
	q.next()
	q.add("CREATE TEMPORARY TABLE ", newRowsTable, " ENGINE=InnoDB AS SELECT ")
	for i, c := range q.cols {
		if i > 0 {
			q.add(",")
		}
		q.add(rowAlias, ".", c, " AS ", q.name(i))
	}
	q.add(" FROM (SELECT 1) AS gtx_o LEFT JOIN ", q.ref, " AS ", rowAlias, " ON FALSE WHERE FALSE")
	q.taken = q.next()
	q.add("INSERT ")
	if s.Or == sqltext.OrIgnore {
		q.add("IGNORE ")
	}
	q.add("INTO ", newRowsTable, " ")
	q.user(s.Query)
}

func (q *fromQuery) drop() {
	q.next()
	q.add("DROP TEMPORARY TABLE ", newRowsTable)
}

// fits fails the packet where a value would change on its way from the temporary
// table: a key for which the server generates another or, under IGNORE, puts one in
// the place of NULL; and a TIMESTAMP in the hour that a change of clocks repeats,
// which goes through the session's time zone once more.
func (q *fromQuery) fits() {
	var odd string
	for _, k := range q.r.Table.Key {
		if q.place(k) < 0 {
			continue
		}
		c, n := &q.r.Table.Columns[k], q.name(q.place(k))
		if c.Auto {
			odd += " OR " + n + "=0 AND NOT FIND_IN_SET('NO_AUTO_VALUE_ON_ZERO',@@sql_mode)"
		}
		if c.Auto || q.r.Stmt.Or == sqltext.OrIgnore {
			odd += " OR " + n + " IS NULL"
		}
	}
	if odd != "" {
		refuseIf(q.packet, q.r, alarmNoKey, "EXISTS (SELECT 1 FROM "+newRowsTable+" WHERE FALSE"+odd+")")
	}
	var differ string
	for i, at := range q.at {
		if at >= 0 && kindOf(&q.r.Table.Columns[at]) == kTimestamp {
			differ += " OR UNIX_TIMESTAMP(CAST(" + q.name(i) + " AS DATETIME(6)))<>UNIX_TIMESTAMP(" + q.name(i) + ")"
		}
	}
	if differ != "" {
		refuseIf(q.packet, q.r, alarmTime, "EXISTS (SELECT 1 FROM "+newRowsTable+" WHERE FALSE"+differ+")")
	}
}

// joined gives the rows of the target that have the values of the temporary table's
// in a unique key. Both have the same types, so they compare as the index does.
func (q *fromQuery) joined(key []int, name string) string {
	return newRowsTable + " STRAIGHT_JOIN " + q.ref + " FORCE INDEX (" + ident(name) + ") ON " + q.same(key)
}

func (q *fromQuery) same(key []int) string {
	on, and := "", ""
	for _, k := range key {
		on += and + column(q.ref, &q.r.Table.Columns[k]) + "=" + newRowsTable + "." + q.name(q.place(k))
		and = " AND "
	}
	return on
}

// statement adds the user's statement with the temporary table in the place of the
// query.
func (q *fromQuery) statement() int {
	s := q.r.Stmt
	user := q.next()
	q.user(sqltext.Span{Start: s.Span.Start, End: s.Query.Start})
	q.rows()
	return user
}

// rows adds the query that gives the temporary table.
func (q *fromQuery) rows() {
	q.add(" SELECT ")
	q.names()
	q.add(" FROM ", newRowsTable, " WHERE TRUE ")
}

// arrived adds the capture of the new rows.
func (q *fromQuery) arrived(again bool) {
	t := q.r.Table
	now := digest(image(q.ref, t))
	capture(q.packet, q.r, undo.Insert, keyImage(q.ref, t), now, q.ref, q.joined(t.Key, "PRIMARY"))
	q.add(" FOR UPDATE", takeOver(q.r, undo.Insert, again))
}

// upsert adds what IGNORE, REPLACE and ON DUPLICATE KEY UPDATE need, as upsert does
// for VALUES.
func (q *fromQuery) upsert() (form, error) {
	s, t := q.r.Stmt, q.r.Table
	keys, err := q.unique()
	if err != nil {
		return form{}, err
	}
	op := undo.Update
	if s.Or == sqltext.OrReplace {
		op = undo.Delete
	}
	for _, k := range keys {
		capture(q.packet, q.r, met(op), image(q.ref, t), "NULL", q.ref, q.joined(k.Columns, k.Name))
		q.add(" FOR UPDATE", takeOver(q.r, met(op), true))
	}
	if s.Or == sqltext.OrIgnore {
		// What has the key of a row that is there is ignored: it goes now, so that none of
		// those is taken for new.
		q.next()
		q.add("DELETE FROM ", newRowsTable, " WHERE EXISTS (SELECT 1 FROM ", q.ref, " FORCE INDEX (PRIMARY) WHERE ", q.same(t.Key), ")")
	}
	q.next()
	q.add("SET @gtx_n=(SELECT COUNT(*) FROM ", newRowsTable, ")")
	if s.Upserts != nil {
		q.countNew(keys)
	}
	pinned := s.Replace && len(keys) == 1
	if pinned {
		q.pin()
	}
	var f form
	f.user = q.statement()
	if s.Upserts != nil {
		u := s.Upserts[0]
		q.user(sqltext.Span{Start: u.Span.Start, End: u.Set.End})
		stray(q.packet, q.r, q.ref)
	}
	returning(q.packet, q.r)
	if s.Upserts == nil {
		q.next()
		q.add("SET @gtx_new=ROW_COUNT()")
	}
	q.arrived(true)
	if pinned {
		checkPin(q.packet, q.r, "@gtx_n")
	}
	settle(q.packet, q.r, "@gtx_n", len(keys))
	return f, nil
}

// countNew adds how many of the rows meet no captured one.
func (q *fromQuery) countNew(keys []uniqueKey) {
	q.next()
	q.add("SET @gtx_new=(SELECT COUNT(*) FROM ", newRowsTable, " WHERE TRUE")
	for _, k := range keys {
		q.add(" AND NOT EXISTS (SELECT 1 FROM ", q.ref, " FORCE INDEX (", ident(k.Name), ") WHERE ", q.same(k.Columns), " AND ", exists(q.r, q.ref), " FOR UPDATE)")
	}
	q.add(")")
}

// unique gives the unique keys by which rows in the way can be found.
func (q *fromQuery) unique() ([]uniqueKey, error) {
	if q.r.Stmt.Or == sqltext.OrIgnore && q.r.Stmt.Upserts != nil {
		return nil, unsupported("ignore", "IGNORE with ON DUPLICATE KEY UPDATE hides errors of the update", "remove IGNORE")
	}
	all, err := uniqueOf(q.r)
	if err != nil {
		return nil, err
	}
	for _, k := range all {
		for _, col := range k.Columns {
			if q.place(col) < 0 {
				return nil, unsupported("unique-key", "column "+q.r.Table.Columns[col].Name+" of the unique key "+k.Name+
					" is not in the column list, so rows in the way cannot be found", "give its value in the query")
			}
		}
	}
	return all, nil
}
