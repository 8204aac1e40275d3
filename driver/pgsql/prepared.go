package pgsql

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/globaltx/globaltx/driver/internal/pgbase"
	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// A captured statement is long: the server takes longer to parse and to plan it
// than to run it for one row. The second time that a connection captures a text it
// is prepared, and from then on only run; the first time already where the base driver
// would ask the server for a description of the user's text (Base.Keeping). What differs between two runs is
// handed over as arguments behind the user's.

// own are the expressions for what is this module's own in one run.
type own struct {
	xid, branch, seq string
	// tag is an argument of a prepared statement, and mark what it must be: a pooler
	// in between may run what another session has prepared by the same name.
	tag, mark string
	// marked asks for marks around what is the user's, see places.
	marked bool
}

// ownArgs is how many arguments of this module args hands over.
const ownArgs = 4

const (
	maxArgs = 65535     // of a statement, by the protocol
	maxText = 32 * 1024 // bytes of a statement that is worth keeping at the server
)

// literals puts the values into the text, for one that is not prepared.
func literals(r *proxy.Capture) own {
	return own{
		xid: literal(r.XID.String()), branch: strconv.FormatInt(int64(r.Branch), 10), seq: strconv.FormatInt(r.Seq*stride, 10),
	}
}

// arguments makes parameters of them, behind n of the user's.
func arguments(n int) own {
	p := func(i int, typ string) string { return "$" + strconv.Itoa(n+i) + "::pg_catalog." + typ }
	return own{xid: p(1, "text"), branch: p(2, "int8"), seq: p(3, "int8"), tag: p(ownArgs, "text"), mark: rand.Text()}
}

// args are the values for arguments.
func args(r *proxy.Capture, mark string) []driver.NamedValue {
	n := len(r.Args)
	return append(r.Args[:n:n],
		driver.NamedValue{Ordinal: n + 1, Value: r.XID.String()},
		driver.NamedValue{Ordinal: n + 2, Value: int64(r.Branch)},
		driver.NamedValue{Ordinal: n + 3, Value: r.Seq * stride},
		driver.NamedValue{Ordinal: n + ownArgs, Value: mark})
}

// checked makes NULL of an expression in a statement that is not the one meant.
func (v own) checked(expr string) string {
	if v.tag == "" {
		return expr
	}
	return "CASE WHEN " + v.tag + " = " + literal(v.mark) + " THEN COALESCE(" + expr + ", false) END"
}

// shape is everything that build looks at.
type shape struct {
	stmt   *sqltext.Statement
	header bool
	tables string
}

func shapeOf(r *proxy.Capture) shape {
	var tables strings.Builder
	for _, list := range [][]*undo.Table{{r.Table}, r.Tables, r.Members} {
		for _, t := range list {
			if t != nil {
				fmt.Fprintf(&tables, "%s %s %s;", t.ID, t.Fingerprint, t.Attr)
			}
		}
	}
	return shape{r.Stmt, r.Header, tables.String()}
}

// mark is the same for the same text, so that a base driver knows it again.
func (k shape) mark() string {
	sum := sha256.Sum256([]byte(k.stmt.Text + "\x00" + strconv.FormatBool(k.header) + k.tables))
	return hex.EncodeToString(sum[:16])
}

// run runs the captured statement of r. Without a text nothing has been sent.
func (d Dialect) run(ctx context.Context, c driver.Conn, r *proxy.Capture) (*text, *proxy.Buffer, error) {
	keeping := d.keeping(r)
	if keeping == pgbase.Never {
		return d.runOnce(ctx, c, r)
	}
	key := shapeOf(r)
	stmt, extra, seen := r.Statements.Get(key)
	switch {
	case stmt != nil:
		t := *extra.(*text) // account counts in it
		rows, err := openStmt(ctx, stmt, args(r, t.values.mark))
		return d.read(c, &t, rows, err)
	case extra != nil: // the base driver keeps it
		t := *extra.(*text)
		rows, err := open(ctx, c, t.sql, args(r, t.values.mark))
		return d.read(c, &t, rows, err)
	case seen || keeping == pgbase.AtOnce:
		v := arguments(len(r.Args))
		if d.base.Keeps {
			v.mark = key.mark()
		}
		t, err := build(r, v)
		if err != nil {
			return nil, nil, err
		}
		kept := *t
		kept.forget()
		if d.base.Keeps {
			r.Statements.Put(key, nil, &kept)
			rows, err := open(ctx, c, t.sql, args(r, v.mark))
			return d.read(c, t, rows, err)
		}
		p, ok := c.(driver.ConnPrepareContext)
		if !ok {
			return nil, nil, fmt.Errorf("prepare through %T: not a driver.ConnPrepareContext", c)
		}
		stmt, err := p.PrepareContext(ctx, t.sql)
		if err != nil {
			return d.read(c, t, nil, err)
		}
		r.Statements.Put(key, stmt, &kept)
		rows, err := openStmt(ctx, stmt, args(r, v.mark))
		return d.read(c, t, rows, err)
	}
	return d.runOnce(ctx, c, r)
}

func (d Dialect) runOnce(ctx context.Context, c driver.Conn, r *proxy.Capture) (*text, *proxy.Buffer, error) {
	t, err := build(r, literals(r))
	if err != nil {
		return nil, nil, err
	}
	rows, err := open(ctx, c, t.sql, d.once(r))
	return d.read(c, t, rows, err)
}

// read reads the rows of t; err is that of asking for them.
func (d Dialect) read(c driver.Conn, t *text, rows driver.Rows, err error) (*text, *proxy.Buffer, error) {
	if err != nil {
		t.unsent = d.base.Unsent != nil && d.base.Unsent(c, err)
		return t, nil, err
	}
	buf, err := proxy.DrainRows(rows)
	return t, buf, err
}

// preparable tells that r, run as a prepared statement, does what it does when it is
// parsed anew.
func preparable(r *proxy.Capture) bool {
	s := r.Stmt
	return len(r.Args) == parameters(s) && len(r.Args) <= maxArgs-ownArgs && s.Span.End-s.Span.Start <= maxText && steady(s.Slice(s.Span))
}

// steady tells that no string of a text is read by the clock or by a setting. The
// server reads a string as a value of its type when it parses the statement: a
// prepared one would go on writing the 'now' of the day it was prepared, and a date
// in the order of a datestyle of before. All of those have a digit or one of few
// words in them. Strings that follow each other are one.
func steady(text string) bool {
	before := false
	for i := skipBlank(text, 0); i < len(text); i = skipBlank(text, i) {
		n := token(text[i:])
		if n == 0 {
			return false
		}
		word := text[i : i+n]
		is := word[n-1] == '\'' || len(word) > 1 && word[n-1] == '$'
		if is && (before || strings.ContainsAny(word, `0123456789\`) || unsteady(strings.ToLower(word))) {
			return false
		}
		before, i = is, i+n
	}
	return true
}

func unsteady(word string) bool {
	for _, w := range []string{"now", "today", "tomorrow", "yesterday", "null"} { // array_nulls
		if strings.Contains(word, w) {
			return true
		}
	}
	return false
}

// parameters is how many arguments the text wants. With another number the server
// must say what it says without us.
func parameters(s *sqltext.Statement) int {
	n := 0
	for _, p := range s.Placeholders {
		n = max(n, p.Ordinal)
	}
	return n
}

// forget lets go of what belongs to one run.
func (t *text) forget() {
	parts := make([]*writer, len(t.parts))
	for i, w := range t.parts {
		capture := proxy.Capture{Stmt: w.Stmt, Table: w.Table, Tables: w.Tables, Members: w.Members, Header: w.Header}
		one := *w
		one.Capture = &capture
		parts[i] = &one
	}
	t.parts = parts
}

func openStmt(ctx context.Context, stmt driver.Stmt, args []driver.NamedValue) (driver.Rows, error) {
	q, ok := stmt.(driver.StmtQueryContext)
	if !ok {
		return nil, fmt.Errorf("query through %T: not a driver.StmtQueryContext", stmt)
	}
	return q.QueryContext(ctx, args)
}

// outdated tells that the server has not run a prepared statement: its result
// would have other columns than when it was prepared (0A000 of
// RevalidateCachedQuery), or it is not there (26000) or there already (42P05),
// because of DEALLOCATE or because somebody between here and the server shares
// connections out. Then no more are kept.
func (d Dialect) outdated(err error, r *proxy.Capture) bool {
	var state interface{ SQLState() string }
	if r.Statements == nil || !errors.As(err, &state) {
		return false
	}
	switch code := state.SQLState(); {
	case code == "0A000" && d.raisedBy(err) == "RevalidateCachedQuery":
		r.Statements.Clear()
		r.Stale = true
	case code == "26000", code == "42P05":
		if !d.base.Keeps { // which looks after its own
			r.Statements.Stop()
		}
	default:
		return false
	}
	return true
}
