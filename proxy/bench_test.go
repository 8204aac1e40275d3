package proxy

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"io"
	"slices"
	"testing"
	"time"
)

// noop is a base driver that does nothing and allocates nothing but what it must
// hand out, so that what is left is database/sql, and this package.
type noop struct{}

func (noop) Connect(context.Context) (driver.Conn, error) { return &noopConn{}, nil }
func (noop) Driver() driver.Driver                        { return nil }

type noopConn struct{}

func (*noopConn) Close() error                             { return nil }
func (*noopConn) Begin() (driver.Tx, error)                { return noopTx{}, nil }
func (*noopConn) Prepare(string) (driver.Stmt, error)      { return noopStmt{}, nil }
func (*noopConn) ResetSession(context.Context) error       { return nil }
func (*noopConn) IsValid() bool                            { return true }
func (*noopConn) CheckNamedValue(*driver.NamedValue) error { return driver.ErrSkip }

func (*noopConn) BeginTx(context.Context, driver.TxOptions) (driver.Tx, error) {
	return noopTx{}, nil
}

func (*noopConn) PrepareContext(context.Context, string) (driver.Stmt, error) {
	return noopStmt{}, nil
}

func (*noopConn) ExecContext(context.Context, string, []driver.NamedValue) (driver.Result, error) {
	return driver.ResultNoRows, nil
}

func (*noopConn) QueryContext(context.Context, string, []driver.NamedValue) (driver.Rows, error) {
	return noopRows{}, nil
}

type noopTx struct{}

func (noopTx) Commit() error   { return nil }
func (noopTx) Rollback() error { return nil }

type noopStmt struct{}

func (noopStmt) Close() error                                { return nil }
func (noopStmt) NumInput() int                               { return -1 }
func (noopStmt) Exec([]driver.Value) (driver.Result, error)  { return driver.ResultNoRows, nil }
func (noopStmt) Query([]driver.Value) (driver.Rows, error)   { return noopRows{}, nil }
func (noopStmt) CheckNamedValue(nv *driver.NamedValue) error { return driver.ErrSkip }

func (noopStmt) ExecContext(context.Context, []driver.NamedValue) (driver.Result, error) {
	return driver.ResultNoRows, nil
}

func (noopStmt) QueryContext(context.Context, []driver.NamedValue) (driver.Rows, error) {
	return noopRows{}, nil
}

type noopRows struct{}

func (noopRows) Columns() []string         { return nil }
func (noopRows) Close() error              { return nil }
func (noopRows) Next([]driver.Value) error { return io.EOF }

type noopWrapped struct {
	noop
	res *Resource
}

func (w noopWrapped) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := w.noop.Connect(ctx)
	return Wrap(c, w.res), err
}

const (
	updateText = "UPDATE account SET balance = balance - $1 WHERE id = $2"
	selectText = "SELECT id, owner, balance FROM account WHERE id = $1 AND balance > 0"
)

// outsideWorks are what a program does outside of global transactions.
var outsideWorks = []struct {
	name string
	run  func(ctx context.Context, db *sql.DB, s *sql.Stmt)
}{
	{"exec", func(ctx context.Context, db *sql.DB, _ *sql.Stmt) {
		_, err := db.ExecContext(ctx, updateText, 1, 2)
		check(err)
	}},
	{"query", func(ctx context.Context, db *sql.DB, _ *sql.Stmt) {
		rows, err := db.QueryContext(ctx, selectText, 1)
		check(err)
		check(rows.Close())
	}},
	{"prepare", func(ctx context.Context, db *sql.DB, _ *sql.Stmt) {
		s, err := db.PrepareContext(ctx, selectText)
		check(err)
		check(s.Close())
	}},
	{"prepared exec", func(ctx context.Context, _ *sql.DB, s *sql.Stmt) {
		_, err := s.ExecContext(ctx, 1, 2)
		check(err)
	}},
	{"prepared query", func(ctx context.Context, _ *sql.DB, s *sql.Stmt) {
		rows, err := s.QueryContext(ctx, 1, 2)
		check(err)
		check(rows.Close())
	}},
	{"transaction", func(ctx context.Context, db *sql.DB, _ *sql.Stmt) {
		tx, err := db.BeginTx(ctx, nil)
		check(err)
		check(tx.Commit())
	}},
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// sides gives a bare and a wrapped database, each with a prepared statement.
func sides(tb testing.TB) (dbs [2]*sql.DB, stmts [2]*sql.Stmt) {
	tb.Helper()
	for i, c := range []driver.Connector{noop{}, noopWrapped{res: NewResource(Config{Dialect: unread{}})}} {
		dbs[i] = sql.OpenDB(c)
		tb.Cleanup(func() { dbs[i].Close() })
		var err error
		if stmts[i], err = dbs[i].PrepareContext(tb.Context(), updateText); err != nil {
			tb.Fatal(err)
		}
	}
	return dbs, stmts
}

// TestOutsideAllocatesNothing: outside of a global transaction nothing is allocated
// that would not be without this package, and nothing is parsed (unread).
func TestOutsideAllocatesNothing(t *testing.T) {
	dbs, stmts := sides(t)
	ctx := context.WithValue(context.Background(), markKey{}, "x")
	for _, w := range outsideWorks {
		if w.name == "transaction" { // a goroutine of database/sql allocates when it likes
			continue
		}
		var got [2]float64
		for i := range got {
			got[i] = testing.AllocsPerRun(500, func() { w.run(ctx, dbs[i], stmts[i]) })
		}
		if got[0] != got[1] {
			t.Errorf("%s: %v allocations, %v without this package", w.name, got[1], got[0])
		}
	}
}

// BenchmarkOutside measures what this package adds outside of a global transaction:
// the sides take turns, so that both meet the same machine, and the median of their
// differences counts.
func BenchmarkOutside(b *testing.B) {
	for _, w := range outsideWorks {
		b.Run(w.name, func(b *testing.B) {
			dbs, stmts := sides(b)
			ctx := context.Background()
			const turn = 64
			var bare, added []float64
			for b.Loop() {
				var spent [2]float64
				for side := range dbs {
					began := time.Now()
					for range turn {
						w.run(ctx, dbs[side], stmts[side])
					}
					spent[side] = float64(time.Since(began)) / turn
				}
				bare, added = append(bare, spent[0]), append(added, spent[1]-spent[0])
			}
			slices.Sort(bare)
			slices.Sort(added)
			b.ReportMetric(bare[len(bare)/2], "bare-ns")
			b.ReportMetric(added[len(added)/2], "added-ns")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkOutsideAllocs tells what each side allocates.
func BenchmarkOutsideAllocs(b *testing.B) {
	dbs, stmts := sides(b)
	for _, w := range outsideWorks {
		for side, name := range []string{"bare", "wrapped"} {
			b.Run(w.name+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					w.run(context.Background(), dbs[side], stmts[side])
				}
			})
		}
	}
}
