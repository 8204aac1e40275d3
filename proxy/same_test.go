package proxy

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// wrapConnector is the fake base driver behind this package.
type wrapConnector struct {
	*fakeBase
	res *Resource
}

func (w wrapConnector) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := w.fakeBase.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return Wrap(c, w.res), nil
}

// play runs a script on one database and gives what reached the base driver and
// what came back, in their order.
type play struct {
	base   *fakeBase
	db     *sql.DB
	ctx    context.Context
	cancel context.CancelFunc
}

func (p *play) say(what string, err error) {
	line := "-> " + what
	if err != nil {
		line += fmt.Sprintf(" error %T %v; bad %t, skip %t, cancelled %t", err, err,
			errors.Is(err, driver.ErrBadConn), errors.Is(err, driver.ErrSkip), errors.Is(err, context.Canceled))
	}
	p.base.trace = append(p.base.trace, line)
}

type execs interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
}

func (p *play) exec(on execs, text string, args ...any) {
	res, err := on.ExecContext(p.ctx, text, args...)
	p.result(res, err)
}

func (p *play) result(res sql.Result, err error) {
	if err != nil {
		p.say("exec", err)
		return
	}
	n, err := res.RowsAffected()
	p.say(fmt.Sprint("affected ", n), err)
	_, err = res.LastInsertId()
	p.say("inserted", err)
}

func (p *play) query(on execs, text string, args ...any) {
	rows, err := on.QueryContext(p.ctx, text, args...)
	p.rows(rows, err)
}

func (p *play) rows(rows *sql.Rows, err error) {
	if err != nil {
		p.say("query", err)
		return
	}
	types, err := rows.ColumnTypes()
	if err == nil {
		p.say(types[0].DatabaseTypeName()+" "+types[0].ScanType().String(), nil)
	}
	for rows.Next() {
		var n int
		err = rows.Scan(&n)
		p.say(fmt.Sprint("row ", n), err)
	}
	p.say("end", rows.Err())
	p.say("closed", rows.Close())
}

func (p *play) prepare(on execs, text string, args ...any) {
	s, err := on.PrepareContext(p.ctx, text)
	if err != nil {
		p.say("prepare", err)
		return
	}
	p.result(s.ExecContext(p.ctx, args...))
	p.rows(s.QueryContext(p.ctx, args...)) //nolint:bodyclose,sqlclosecheck // closed in rows
	p.say("close", s.Close())
	p.say("close again", s.Close())
	_, err = s.ExecContext(p.ctx, args...)
	p.say("closed", err)
}

func (p *play) begin(opts *sql.TxOptions, then func(*sql.Tx)) {
	tx, err := p.db.BeginTx(p.ctx, opts)
	if err != nil {
		p.say("begin", err)
		return
	}
	then(tx)
}

// idle waits until all connections are back in the pool, or closed.
func (p *play) idle() {
	for end := time.Now().Add(20 * time.Second); p.db.Stats().InUse > 0; runtime.Gosched() {
		if time.Now().After(end) {
			panic("a connection does not come back")
		}
	}
}

// valuer cancels the context while its argument is converted.
type valuer struct {
	p *play
	v driver.Value
	e error
}

func (v valuer) Value() (driver.Value, error) {
	if v.p != nil {
		v.p.cancel()
	}
	return v.v, v.e
}

// GoString keeps addresses out of the trace.
func (v valuer) GoString() string { return fmt.Sprintf("valuer %v", v.v) }

var steps = []struct {
	name string
	run  func(p *play)
}{
	{"exec", func(p *play) { p.exec(p.db, "insert"); p.exec(p.db, "insert ?", 1) }},
	{"exec, arguments", func(p *play) {
		p.exec(p.db, "insert ? ? ? ? ?", 1, "a", []byte("b"), nil, true)
		p.exec(p.db, "insert ? ? ?", uint8(3), 1.5, time.Unix(0, 0).UTC())
	}},
	{"exec, named", func(p *play) { p.exec(p.db, "insert ?", sql.Named("x", 1)) }},
	{"exec, valuer", func(p *play) {
		p.exec(p.db, "insert ?", valuer{v: int64(5)})
		p.exec(p.db, "insert ?", valuer{e: errRefused})
	}},
	{"exec, no value", func(p *play) { p.exec(p.db, "insert ?", point{1, 2}); p.exec(p.db, "insert unknown", point{3, 4}) }},
	{"exec, checker", func(p *play) {
		p.exec(p.db, "insert ?", removed{}, 1)
		p.exec(p.db, "insert ?", refused{})
		p.exec(p.db, "insert ?", skipped("s"))
	}},
	{"exec, too many", func(p *play) { p.exec(p.db, "insert ?", 1, 2); p.exec(p.db, "insert unknown", 1, 2) }},
	{"query", func(p *play) { p.query(p.db, "select"); p.query(p.db, "select ?", 1) }},
	{"query, arguments", func(p *play) {
		p.query(p.db, "select ?", sql.Named("x", 1))
		p.query(p.db, "select ?", point{1, 2})
		p.query(p.db, "select ?", removed{}, skipped("s"))
		p.query(p.db, "select ?", 1, 2)
	}},
	{"query row", func(p *play) {
		var n int
		p.say(fmt.Sprint("scanned ", n), p.db.QueryRowContext(p.ctx, "select").Scan(&n))
	}},
	{"prepare", func(p *play) {
		p.prepare(p.db, "insert ?", 1)
		p.prepare(p.db, "insert ?", sql.Named("x", 1))
		p.prepare(p.db, "insert unknown", 1, point{5, 6})
		p.prepare(p.db, "insert ?", removed{}, skipped("s"))
		p.prepare(p.db, "insert ?", refused{})
		p.prepare(p.db, "insert ? ?", 1)
	}},
	{"prepared on two connections", func(p *play) {
		s, err := p.db.PrepareContext(p.ctx, "select ?")
		if err != nil {
			p.say("prepare", err)
			return
		}
		one, err := s.QueryContext(p.ctx, 1)
		p.result(s.ExecContext(p.ctx, 2))
		p.rows(one, err)
		p.say("close", s.Close())
	}},
	{"transaction", func(p *play) {
		p.begin(nil, func(tx *sql.Tx) {
			p.exec(tx, "insert ?", 1)
			p.query(tx, "select ?", 1)
			p.prepare(tx, "insert ?", 1)
			p.say("commit", tx.Commit())
			p.say("commit again", tx.Commit())
		})
		p.begin(&sql.TxOptions{}, func(tx *sql.Tx) {
			p.exec(tx, "insert ?", 1)
			p.say("roll back", tx.Rollback())
		})
	}},
	{"transaction, options", func(p *play) {
		for _, o := range []sql.TxOptions{{Isolation: sql.LevelSerializable}, {ReadOnly: true}, {Isolation: sql.LevelSnapshot, ReadOnly: true}} {
			p.begin(&o, func(tx *sql.Tx) { p.say("commit", tx.Commit()) })
		}
	}},
	{"statement in a transaction", func(p *play) {
		s, err := p.db.PrepareContext(p.ctx, "insert ?")
		if err != nil {
			p.say("prepare", err)
			return
		}
		p.begin(nil, func(tx *sql.Tx) {
			p.result(tx.StmtContext(p.ctx, s).ExecContext(p.ctx, 1)) //nolint:sqlclosecheck // closed by the end of tx
			p.say("commit", tx.Commit())
		})
		p.say("close", s.Close())
	}},
	{"ping", func(p *play) { p.say("ping", p.db.PingContext(p.ctx)); p.say("ping", p.db.PingContext(p.ctx)) }},
	{"connection", func(p *play) {
		c, err := p.db.Conn(p.ctx)
		if err != nil {
			p.say("connection", err)
			return
		}
		p.say("ping", c.PingContext(p.ctx))
		p.exec(c, "insert ?", 1)
		p.query(c, "select ?", 1)
		p.prepare(c, "insert ?", 1)
		p.say("raw", c.Raw(func(any) error { return nil }))
		p.say("close", c.Close())
	}},
	{"raw, bad", func(p *play) {
		c, err := p.db.Conn(p.ctx)
		if err != nil {
			p.say("connection", err)
			return
		}
		p.say("raw", c.Raw(func(any) error { return driver.ErrBadConn }))
		p.say("close", c.Close())
		p.exec(p.db, "insert")
	}},
	{"not valid", func(p *play) {
		p.exec(p.db, "insert")
		p.base.invalid = true
		p.exec(p.db, "insert")
		p.exec(p.db, "insert")
	}},
	{"cancelled before", func(p *play) {
		p.cancel()
		p.exec(p.db, "insert")
		p.query(p.db, "select")
		p.prepare(p.db, "insert")
		p.begin(nil, func(*sql.Tx) {})
		p.say("ping", p.db.PingContext(p.ctx))
	}},
	{"cancelled while arguments are converted, exec", func(p *play) { p.exec(p.db, "insert ?", valuer{p: p, v: int64(5)}) }},
	{"cancelled while arguments are converted, query", func(p *play) {
		rows, err := p.db.QueryContext(p.ctx, "select ?", valuer{p: p, v: int64(5)})
		if err == nil {
			rows.Close()
		}
		p.idle()
	}},
	{"cancelled while arguments are converted, statement", func(p *play) {
		s, err := p.db.PrepareContext(p.ctx, "insert ?")
		if err == nil {
			p.result(s.ExecContext(p.ctx, valuer{p: p, v: int64(5)}))
			s.Close()
		}
		p.say("prepared", err)
	}},
	{"cancelled in prepare", func(p *play) {
		p.cancelAt("prepare")
		s, err := p.db.PrepareContext(p.ctx, "insert ?")
		if err == nil {
			s.Close()
		}
		p.say("prepared", err)
	}},
	{"cancelled in begin", func(p *play) {
		p.cancelAt("begin")
		_, err := p.db.BeginTx(p.ctx, nil)
		p.idle() // database/sql rolls back
		p.say("begin", err)
		p.ctx = context.WithoutCancel(p.ctx)
		p.exec(p.db, "insert")
	}},
	{"cancelled transaction", func(p *play) {
		tx, err := p.db.BeginTx(p.ctx, nil)
		if err != nil {
			p.say("begin", err)
			return
		}
		p.exec(tx, "insert")
		p.cancel()
		p.idle() // database/sql rolls back
		p.ctx = context.WithoutCancel(p.ctx)
		p.exec(p.db, "insert")
	}},
}

// cancelAt cancels the context at the first base call whose name begins so.
func (p *play) cancelAt(call string) {
	inner := p.base.at
	p.base.at = func(c string) error {
		if strings.HasPrefix(c, call) {
			p.cancel()
		}
		if inner != nil {
			return inner(c)
		}
		return nil
	}
}

// fault makes the n-th call of a name fail.
type fault struct {
	call string
	n    int
	err  error
}

// perform runs one step.
func perform(step int, conn, stmt int, f fault, wrapped bool) []string {
	base := &fakeBase{conn: conn, stmt: stmt}
	seen := 0
	if f.err != nil {
		base.at = func(call string) error {
			if call, _, _ = strings.Cut(call, " context"); call == f.call {
				if seen++; seen == f.n {
					return f.err
				}
			}
			return nil
		}
	}
	var connector driver.Connector = base
	if wrapped {
		connector = wrapConnector{base, NewResource(Config{Dialect: unread{}})}
	}
	db := sql.OpenDB(connector)
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), markKey{}, "the caller's"))
	p := &play{base: base, db: db, ctx: ctx, cancel: cancel}
	steps[step].run(p)
	p.idle()
	p.say("db closed", db.Close())
	cancel()
	return base.trace
}

// apart runs f on a goroutine of its own: the race detector remembers what one has
// called, at a price that grows.
func apart(f func()) {
	var wg sync.WaitGroup
	wg.Go(f)
	wg.Wait()
}

// compare runs one step bare and wrapped.
func compare(t *testing.T, step, conn, stmt int, f fault) {
	t.Helper()
	var bare, wrapped []string
	apart(func() { bare, wrapped = perform(step, conn, stmt, f, false), perform(step, conn, stmt, f, true) })
	if !slices.Equal(bare, wrapped) {
		t.Errorf("%s, connection %v, statement %v, fault %+v:\n%s", steps[step].name, pick(kinds, conn), pick(stmtKinds, stmt), f, cmp.Diff(bare, wrapped))
	}
}

// TestSame: whatever a base driver offers, its calls and the program's results are
// the same with this package in between. What a connection has for Exec and Query
// and for arguments meets every kind of statement; the rest, which has nothing to
// do with statements, meets each of them somewhere.
func TestSame(t *testing.T) {
	t.Parallel()
	for conn := range fakeConns {
		every := len(fakeStmts)
		rest := slices.Concat(pick(kinds, conn)[2:4], pick(kinds, conn)[5:])
		if strings.Join(rest, "") == "" || !slices.Contains(rest, "") {
			every = 1
		}
		for step := range steps {
			for s := (conn + step) % every; s < len(fakeStmts); s += every {
				compare(t, step, conn, s, fault{})
			}
		}
		if t.Failed() {
			return
		}
	}
}

var calls = []string{
	"connect", "close", "prepare", "begin", "commit", "rollback", "exec", "query", "check", "ping", "reset", "valid",
	"close statement", "exec statement", "query statement", "check of statement", "next", "close rows",
}

// TestSameFaults is TestSame with one call that fails.
func TestSameFaults(t *testing.T) {
	t.Parallel()
	var faults []fault
	for _, call := range calls {
		for n := 1; n <= 2; n++ {
			for _, err := range []error{driver.ErrBadConn, fmt.Errorf("sent: %w", driver.ErrBadConn), driver.ErrSkip, driver.ErrRemoveArgument, errRefused} {
				faults = append(faults, fault{call, n, err})
			}
		}
	}
	for conn := range fakeConns {
		f := faults[conn*47%len(faults)] // every one of them in turn
		for step := conn % 5; step < len(steps); step += 5 {
			compare(t, step, conn, conn%len(fakeStmts), f)
		}
		if t.Failed() {
			return
		}
	}
	for _, f := range faults {
		for step := range steps {
			for _, conn := range []int{0, len(fakeConns) - 1} {
				compare(t, step, conn, len(fakeStmts)-1, f)
			}
		}
	}
}
