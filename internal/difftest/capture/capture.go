// Package capture proves that the rows a SELECT finds, when it is made only of
// the slices and placeholders of sqltext, are the rows that the statement then
// changes. It writes random statements that the server accepts, runs both in one
// transaction on a live server, and compares the keys found with the difference
// between two snapshots of all tables, and with the number of rows that the
// server says it changed.
package capture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// Engine is a live server with an empty database.
type Engine struct {
	Name    string
	Dialect sqltext.Dialect
	// Mode is set in the session for the MySQL family, and must be that of the
	// server for the others.
	Mode sqltext.Mode
	// DSN in the form of go-sql-driver, lib/pq or modernc.org/sqlite.
	DSN string
}

// Report counts what a run found.
type Report struct {
	Statements int
	Equal      int // the keys captured are the keys changed
	Proper     int // of the equal ones: some rows of a table, not all
	// Fewer are those where MySQL left out rows of an UPDATE of several tables: it
	// skips a row of the table that it changes at once when the row joined to it, of
	// a table listed before, has been met already (seen in 9.7). All rows changed are
	// captured. They are not among Unequal.
	Fewer   int
	Unequal int
	Errors  int            // the server did not accept the statement
	Refused map[string]int // by code
	Forms   map[string]int // equal ones, by shape
	Elapsed time.Duration
	// Failures and Samples describe the first unequal statements and errors.
	Failures []Failure
	Samples  []Failure
}

// Failure is a statement with what went wrong.
type Failure struct {
	Text       string
	Args       []any
	Companions []string // with their arguments
	Captured   []string // keys
	Changed    []string
	Detail     string
}

func (f Failure) String() string {
	return fmt.Sprintf("%s\ntext: %s\nargs: %v\ncompanions: %s\ncaptured: %q\nchanged: %q",
		f.Detail, f.Text, f.Args, strings.Join(f.Companions, "\n  "), f.Captured, f.Changed)
}

// kept bounds how many failures are described.
const kept = 10

// parser is sqltext.Parse, or a broken one to see that a run finds it out.
type parser func(string, sqltext.Dialect, sqltext.Mode) (*sqltext.Statement, error)

// Run makes the schema in the engine's database and runs n statements. The same
// seed gives the same statements. Every statement is rolled back. An error means
// that the run could not go on, not that statements were unequal. Run is safe for
// concurrent use on different databases.
func Run(ctx context.Context, e Engine, seed uint64, n int) (Report, error) {
	return run(ctx, e, seed, n, sqltext.Parse)
}

func run(ctx context.Context, e Engine, seed uint64, n int, parse parser) (rep Report, err error) {
	s, err := open(ctx, e)
	if err != nil {
		return Report{}, err
	}
	defer s.close()
	start := time.Now()
	rep = Report{Refused: map[string]int{}, Forms: map[string]int{}}
	for i := range n {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		g := &generator{wardrobe: &wardrobe{quoter: quoter{d: e.Dialect, m: e.Mode}, r: r}, version: s.version}
		stmt := g.statement()
		if err := s.check(ctx, stmt, parse, &rep); err != nil {
			return rep, fmt.Errorf("check statement %d of seed %d (%q): %w", i, seed, stmt.text, err)
		}
	}
	rep.Elapsed = time.Since(start)
	now, err := s.snapshot(ctx, s.conn)
	if err != nil {
		return rep, err
	}
	if gone, added := difference(s.base, now); len(gone)+len(added) > 0 {
		return rep, fmt.Errorf("roll back: rows stay changed: %q, new: %q", gone, added)
	}
	return rep, nil
}

// check runs one statement and counts it.
func (s *session) check(ctx context.Context, stmt generated, parse parser, rep *Report) error {
	rep.Statements++
	f := Failure{Text: stmt.text, Args: stmt.args}
	st, err := parse(stmt.text, s.Dialect, s.Mode)
	if refusal, ok := asRefusal(err); ok {
		rep.Refused[refusal.Code]++
		return nil
	}
	if err != nil {
		return err
	}
	all, err := companions(st, stmt.args)
	if err != nil {
		f.Detail = err.Error()
		rep.unequal(f)
		return nil
	}
	for _, c := range all {
		f.Companions = append(f.Companions, fmt.Sprintf("%s %v", c.query, c.args))
	}
	captured, o, err := s.both(ctx, all, stmt)
	var broken *companionError
	if errors.As(err, &broken) {
		// A statement that the server does not accept has no companion either.
		if err = s.accepted(ctx, stmt); err == nil {
			f.Detail = broken.Error()
			rep.unequal(f)
			return nil
		}
	}
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		f.Detail = err.Error()
		rep.Errors++
		if len(rep.Samples) < kept {
			rep.Samples = append(rep.Samples, f)
		}
		return nil
	}
	f.Captured, f.Changed = captured, o.changed
	want := int64(len(o.changed))*stmt.perChanged + int64(len(o.added))
	switch {
	case st.Dialect == sqltext.MySQL && st.Kind == sqltext.Update && len(all) > 1 &&
		fewer(o.changed, captured) && o.affected == want:
		rep.Fewer++
	case !slices.Equal(captured, o.changed):
		f.Detail = "the keys differ"
		rep.unequal(f)
	case stmt.perChanged != uncounted && o.affected != want:
		f.Detail = fmt.Sprintf("the server counts %d rows, not %d", o.affected, want)
		rep.unequal(f)
	default:
		rep.Equal++
		rep.Forms[string(stmt.form)]++
		if proper(captured) {
			rep.Proper++
		}
	}
	return nil
}

func (r *Report) unequal(f Failure) {
	r.Unequal++
	if len(r.Failures) < kept {
		r.Failures = append(r.Failures, f)
	}
}

// fewer tells whether the keys are some of all, but not all. Both are sorted.
func fewer(some, all []string) bool {
	for _, k := range some {
		if _, ok := slices.BinarySearch(all, k); !ok {
			return false
		}
	}
	return len(some) < len(all)
}

// proper tells whether the keys are some of a table's but not all of them.
func proper(keys []string) bool {
	for _, t := range tables {
		n := 0
		for _, k := range keys {
			if strings.HasPrefix(k, t.name+":") {
				n++
			}
		}
		if n > 0 && n < t.rows {
			return true
		}
	}
	return false
}
