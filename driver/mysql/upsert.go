package mysql

import (
	"strconv"
	"strings"

	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// upsert gives the form of an INSERT that may meet rows that are there: IGNORE,
// ON DUPLICATE KEY UPDATE, REPLACE. Their images come first.
//
//	capture of the rows in the way, once for every unique key
//	the user's statement
//	capture of the new rows by their keys
//	count of both
//	the after images of the rows in the way; REPLACE has deleted them
//
// At READ COMMITTED a row may come into the way behind the capture. ON DUPLICATE
// KEY UPDATE does not write it: an assignment that changes nothing is added, which
// fails where the row has no image. The others see by the counts, REPLACE with the
// help of pin.
func upsert(p *packet, r *proxy.Capture, from [][]source) (form, error) {
	s, t := r.Stmt, r.Table
	keys, err := uniqueOf(r)
	if err != nil {
		return form{}, err
	}
	if s.Or == sqltext.OrIgnore && s.Upserts != nil {
		return form{}, unsupported("ignore", "IGNORE with ON DUPLICATE KEY UPDATE hides errors of the update", "remove IGNORE")
	}
	if err := countable(r, from); err != nil {
		return form{}, err
	}
	ref, op := s.Slice(s.Target().NameSpan), undo.Update
	if s.Or == sqltext.OrReplace {
		op = undo.Delete
	}
	for _, k := range keys {
		capture(p, r, met(op), image(ref, t), "NULL", ref, ref+" FORCE INDEX ("+ident(k.Name)+")")
		p.add(" WHERE ")
		rowsInWay(p, r, from, k, ref)
		p.add(" FOR UPDATE", takeOver(r, met(op), true))
	}
	n := strconv.Itoa(len(s.Rows))
	if s.Upserts != nil {
		p.next()
		p.add("SET @gtx_new=", n, "-(")
		hits(p, r, from, keys, ref)
		p.add(")")
	}
	pinned := s.Replace && len(keys) == 1 && pinRows(p, r, from, ref)
	user := p.next()
	switch {
	case s.Upserts != nil:
		p.user(sqltext.Span{Start: s.Span.Start, End: s.Upserts[0].Set.End})
		stray(p, r, ref)
		returning(p, r)
	default:
		p.user(s.Span)
		p.next()
		p.add("SET @gtx_new=ROW_COUNT()")
	}
	captureNew(p, r, from, "@gtx_new", true)
	if pinned {
		checkPin(p, r, n)
	}
	settle(p, r, n, len(keys))
	return form{user: user, agree: func([]int64) bool { return true }}, nil
}

// countable refuses IGNORE with RETURNING where generated keys are found by their
// number: ROW_COUNT() does not tell it then.
func countable(r *proxy.Capture, from [][]source) error {
	if !returns(r.Stmt) || r.Stmt.Or != sqltext.OrIgnore {
		return nil
	}
	for _, row := range from {
		for _, src := range row {
			if src != given {
				return unsupported("returning", "INSERT IGNORE with RETURNING is captured only where the statement gives the key", "give the key, or read the rows with SELECT")
			}
		}
	}
	return nil
}

// stray adds the assignment that fails where ON DUPLICATE KEY UPDATE meets a row
// without an image.
func stray(p *packet, r *proxy.Capture, ref string) {
	key := column(ref, &r.Table.Columns[r.Table.Key[0]])
	p.add("\n,", key, "=IF(", exists(r, ref), ",", key, ",CAST(CONCAT('", alarm(r.Branch, alarmStray), "',", key, ") AS SIGNED))")
}

// settle adds the count of an upsert of n rows into a table with so many unique
// keys, and what remains to be done to its undo rows.
func settle(p *packet, r *proxy.Capture, n string, keys int) {
	const letter = undoAlias + ".op"
	if r.Stmt.Replace {
		assert(p, r, " AND "+undoAlias+".after_img IS NOT NULL", n)
		// Where the primary key is the only one, the server does not count a row that is
		// replaced by its equal.
		as := "="
		if keys == 1 {
			as = ">="
		}
		check(p, r, " AND "+letter+" IN ('u','d','i')", as, "@gtx_new-"+n)
	} else {
		const fresh = " AND " + letter + " IN ('U','I')"
		switch {
		case r.Stmt.Upserts != nil && returns(r.Stmt):
			assert(p, r, fresh, "@gtx_new")
			p.next()
			p.add("SET @gtx_got=NULL") // the statement gives the updated rows, too
		case returns(r.Stmt):
			countReturned(p, r, fresh)
		default:
			assert(p, r, fresh, "@gtx_new")
		}
		stamp(p, r)
	}
	p.next()
	p.add("UPDATE gtx_undo AS ", undoAlias, " FORCE INDEX (gtx_undo_xid) SET ", letter, "=UPPER(", letter, ") WHERE ", mine(r))
}

// met is the letter of a row that was there before the statement, inside its
// packet: small, so that it can be told from a new one. Nobody else sees it.
func met(op undo.Op) undo.Op { return undo.Op(strings.ToLower(string(op))) }
