// Package bench measures what a global transaction adds to a local one, against
// the base driver, interleaved on the same tables of the same server.
package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

// Config of one measurement.
type Config struct {
	// Open opens the database with the base driver, or with ours. w is nil, or
	// the connections must go over a relay and w counts their round trips.
	Open func(global, relayed bool) (db *sql.DB, w Counter, err error)
	// Dialect gives placeholders and sorts errors.
	Dialect     undo.Dialect
	Coordinator gtx.Coordinator
	// Table is the name for a table of the benchmark's own.
	Table string
	// Rounds: how often each work is timed with each driver; at least 1.
	Rounds int
	// Rows the table holds; zero: 20,000.
	Rows int
	Seed uint64
}

// Counter counts round trips.
type Counter interface{ RoundTrips() int }

// Line is what one kind of work costs.
type Line struct {
	Work string
	// Plain is BEGIN, statement, COMMIT with the base driver; Local the same inside
	// a global transaction; Whole the call of gtx.Run around it, with its decision.
	Plain, Local, Whole Times
	// Round trips of Plain and of Local; negative: not counted.
	PlainTrips, LocalTrips int
	// Forced writes of the database for one Plain, and for one global transaction
	// with its phase two; negative: the server does not count them.
	PlainForced, WholeForced float64
}

// Times are sorted durations.
type Times []time.Duration

// P gives the q-quantile, 0 ≤ q ≤ 1.
func (t Times) P(q float64) time.Duration {
	return t[int(q*float64(len(t)-1))]
}

type bench struct {
	Config
	rng         *rand.Rand
	plain, ours *sql.DB
	next        int64 // the highest id that was ever used
	turn        int64 // deletes take one row after the other
}

// Run measures every kind of work. It makes the table and drops it.
func Run(ctx context.Context, cfg Config) (_ []Line, err error) {
	if cfg.Rounds < 1 {
		return nil, fmt.Errorf("bench: %d rounds", cfg.Rounds)
	}
	if cfg.Rows == 0 {
		cfg.Rows = 20_000
	}
	b := &bench{Config: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 0)), next: int64(cfg.Rows)}
	if b.plain, _, err = cfg.Open(false, false); err != nil {
		return nil, err
	}
	defer b.plain.Close()
	if b.ours, _, err = cfg.Open(true, false); err != nil {
		return nil, err
	}
	defer b.ours.Close()
	if err := b.create(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if _, derr := b.plain.ExecContext(ctx, "DROP TABLE "+cfg.Table); err == nil && derr != nil {
			err = fmt.Errorf("drop table: %w", derr)
		}
	}()
	lines := make([]Line, len(works))
	for i, w := range works {
		lines[i] = Line{Work: w.name}
		if err := b.count(ctx, w, &lines[i]); err != nil {
			return nil, fmt.Errorf("count %s: %w", w.name, err)
		}
	}
	if err := b.time(ctx, lines); err != nil {
		return nil, err
	}
	return lines, nil
}

// time runs all kinds of work in random order, again and again.
func (b *bench) time(ctx context.Context, lines []Line) error {
	const warm = 3
	for round := range b.Rounds + warm {
		for _, k := range b.rng.Perm(2 * len(works)) {
			w, l := works[k/2], &lines[k/2]
			var local, whole time.Duration
			job := w.prepare(b)
			err := b.around(ctx, job, func() (err error) {
				if k%2 == 0 {
					local, err = b.local(ctx, b.plain, job)
				} else {
					local, whole, err = b.global(ctx, b.ours, job)
				}
				return err
			})
			switch {
			case err != nil:
				return fmt.Errorf("time %s: %w", w.name, err)
			case round < warm:
			case k%2 == 0:
				l.Plain = append(l.Plain, local)
			default:
				l.Local, l.Whole = append(l.Local, local), append(l.Whole, whole)
			}
		}
	}
	for i := range lines {
		slices.Sort(lines[i].Plain)
		slices.Sort(lines[i].Local)
		slices.Sort(lines[i].Whole)
	}
	return nil
}

// around does what a job needs before and after it, outside the measurement.
func (b *bench) around(ctx context.Context, j job, run func() error) error {
	if err := run(); err != nil {
		return err
	}
	if err := b.settle(ctx); err != nil {
		return err
	}
	return b.repair(ctx, j.repair)
}

func (b *bench) repair(ctx context.Context, statements []undo.Statement) error {
	for _, s := range statements {
		if _, err := b.plain.ExecContext(ctx, s.Text, s.Args...); err != nil {
			return fmt.Errorf("repair: %w", err)
		}
	}
	return nil
}

// settle waits until phase two has left nothing, so that it disturbs nobody.
func (b *bench) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		var n int
		err := b.plain.QueryRowContext(ctx, "SELECT (SELECT count(*) FROM gtx_undo) + (SELECT count(*) FROM gtx_branch)").Scan(&n)
		if err == nil && n == 0 || b.Dialect.Classify(err) == undo.NoTable {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for phase two: %w", errors.Join(ctx.Err(), err))
		case <-time.After(time.Millisecond):
		}
	}
}

// local runs one job in a local transaction.
func (b *bench) local(ctx context.Context, db *sql.DB, j job) (time.Duration, error) {
	begin := time.Now()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	res, err := tx.ExecContext(ctx, j.run.Text, j.run.Args...)
	if err != nil {
		return 0, errors.Join(err, tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return 0, err
	}
	took := time.Since(begin)
	if n, err := res.RowsAffected(); err != nil || n != j.rows && n != j.orRows {
		return 0, fmt.Errorf("%d rows were changed, not %d (%w)", n, j.rows, err)
	}
	return took, nil
}

func (b *bench) global(ctx context.Context, db *sql.DB, j job) (local, whole time.Duration, err error) {
	begin := time.Now()
	err = gtx.Run(ctx, func(ctx context.Context) (err error) {
		local, err = b.local(ctx, db, j)
		return err
	}, gtx.WithCoordinator(b.Coordinator))
	return local, time.Since(begin), err
}

// create makes and fills the table: ten columns and two more indexes.
func (b *bench) create(ctx context.Context) error {
	for _, ddl := range []string{
		"CREATE TABLE " + b.Table + " (id BIGINT PRIMARY KEY, n BIGINT NOT NULL, k BIGINT NOT NULL, s VARCHAR(100) NOT NULL, t VARCHAR(100)," +
			" d DECIMAL(20,4) NOT NULL, e DOUBLE PRECISION, at DATE, note VARCHAR(200), flag INTEGER NOT NULL)",
		"CREATE INDEX " + b.Table + "_k ON " + b.Table + " (k)",
		"CREATE INDEX " + b.Table + "_s ON " + b.Table + " (s)",
	} {
		if _, err := b.plain.ExecContext(ctx, ddl); err != nil {
			return fmt.Errorf("create table: %w", err)
		}
	}
	for id := int64(1); id <= int64(b.Rows); id += 500 {
		s := b.insert(id, min(500, int64(b.Rows)-id+1))
		if _, err := b.plain.ExecContext(ctx, s.Text, s.Args...); err != nil {
			return fmt.Errorf("fill table: %w", err)
		}
	}
	return nil
}

// insert gives n rows from id on, as a program would that always sends the same
// text.
func (b *bench) insert(id, n int64) undo.Statement {
	var s strings.Builder
	fmt.Fprintf(&s, "INSERT INTO %s (id, n, k, s, t, d, e, at, note, flag) VALUES ", b.Table)
	args := make([]any, 0, 4*n)
	p := b.Dialect.Placeholder
	for i := range n {
		if i > 0 {
			s.WriteString(", ")
		}
		at := len(args)
		fmt.Fprintf(&s, "(%s, 0, %s, %s, 'a text of some length', 1234.5678, 0.5, %s, NULL, 1)", p(at+1), p(at+2), p(at+3), p(at+4))
		args = append(args, id+i, (id+i)%977, fmt.Sprint("row ", id+i), "2024-02-29")
	}
	return undo.Statement{Text: s.String(), Args: args}
}
