package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Slice is how long one driver works before it is the other's turn.
const Slice = 200 * time.Millisecond

// Throughput is what a program that uses no global transaction gets done.
type Throughput struct {
	Work    string
	Workers int
	// Plain is operations per second with the base driver, Ratio ours to it: the
	// median over pairs of neighbouring slices, with its quartiles.
	Plain            float64
	Ratio, Low, High float64
}

// outsideWorks are what a worker does again and again.
var outsideWorks = []struct {
	name string
	run  func(ctx context.Context, o *outside, id int64) error
}{
	{"query", func(ctx context.Context, o *outside, id int64) error {
		var n int64
		return o.db.QueryRowContext(ctx, o.selectText, id).Scan(&n)
	}},
	{"prepared query", func(ctx context.Context, o *outside, id int64) error {
		var n int64
		return o.selects.QueryRowContext(ctx, id).Scan(&n)
	}},
	{"exec", func(ctx context.Context, o *outside, id int64) error {
		_, err := o.db.ExecContext(ctx, o.updateText, id)
		return err
	}},
	{"transaction", func(ctx context.Context, o *outside, id int64) error {
		tx, err := o.db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		// The write first: SQLite lets nobody write who has read what another changed.
		if _, err := tx.ExecContext(ctx, o.updateText, id); err != nil {
			return err
		}
		var n int64
		if err := tx.QueryRowContext(ctx, o.selectText, id).Scan(&n); err != nil {
			return err
		}
		return tx.Commit()
	}},
}

// outside is one side: a pool of one of the drivers.
type outside struct {
	db                     *sql.DB
	selects                *sql.Stmt
	selectText, updateText string
	rows                   int64
}

// Outside measures throughput outside global transactions with each number of
// workers, one connection for each of them. Both drivers take turns of Slice in
// random order, cfg.Rounds times. It makes the table and drops it.
func Outside(ctx context.Context, cfg Config, workers []int) (_ []Throughput, err error) {
	if cfg.Rounds < 1 {
		return nil, fmt.Errorf("bench: %d rounds", cfg.Rounds)
	}
	if cfg.Rows == 0 {
		cfg.Rows = 20_000
	}
	b := &bench{Config: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 0))}
	var sides [2]*outside
	for i := range sides {
		db, _, err := cfg.Open(i == 1, false)
		if err != nil {
			return nil, err
		}
		defer db.Close()
		p := cfg.Dialect.Placeholder(1)
		sides[i] = &outside{
			db: db, rows: int64(cfg.Rows),
			selectText: fmt.Sprintf("SELECT n FROM %s WHERE id = %s", cfg.Table, p),
			updateText: fmt.Sprintf("UPDATE %s SET n = n + 1 WHERE id = %s", cfg.Table, p),
		}
	}
	b.plain = sides[0].db
	if err := b.create(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if _, derr := b.plain.ExecContext(ctx, "DROP TABLE "+cfg.Table); err == nil && derr != nil {
			err = fmt.Errorf("drop table: %w", derr)
		}
	}()
	for _, s := range sides {
		if s.selects, err = s.db.PrepareContext(ctx, s.selectText); err != nil {
			return nil, err
		}
		defer s.selects.Close()
	}
	var lines []Throughput
	for _, n := range workers {
		for _, s := range sides {
			s.db.SetMaxOpenConns(n)
			s.db.SetMaxIdleConns(n)
		}
		for k := range outsideWorks {
			t, err := b.compare(ctx, sides, k, n)
			if err != nil {
				return nil, fmt.Errorf("%s with %d workers: %w", outsideWorks[k].name, n, err)
			}
			lines = append(lines, t)
		}
	}
	return lines, nil
}

func (b *bench) compare(ctx context.Context, sides [2]*outside, k, workers int) (Throughput, error) {
	const warm = 1
	var plain, ratios []float64
	for round := range b.Rounds + warm {
		var rate [2]float64
		for _, i := range b.rng.Perm(2) {
			var err error
			if rate[i], err = sides[i].slice(ctx, k, workers, b.rng.Uint64()); err != nil {
				return Throughput{}, err
			}
		}
		if round >= warm {
			plain, ratios = append(plain, rate[0]), append(ratios, rate[1]/rate[0])
		}
	}
	slices.Sort(plain)
	slices.Sort(ratios)
	at := func(v []float64, q float64) float64 { return v[int(q*float64(len(v)-1))] }
	return Throughput{
		Work: outsideWorks[k].name, Workers: workers, Plain: at(plain, 0.5),
		Ratio: at(ratios, 0.5), Low: at(ratios, 0.25), High: at(ratios, 0.75),
	}, nil
}

// slice lets workers do one kind of work for a Slice, and gives operations per second.
func (o *outside) slice(ctx context.Context, k, workers int, seed uint64) (float64, error) {
	var stop atomic.Bool
	var done atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, workers)
	begin := time.Now()
	timer := time.AfterFunc(Slice, func() { stop.Store(true) })
	defer timer.Stop()
	for w := range workers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(w)))
			for !stop.Load() {
				if err := outsideWorks[k].run(ctx, o, 1+rng.Int64N(o.rows)); err != nil {
					errs[w] = err
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	return float64(done.Load()) / time.Since(begin).Seconds(), errors.Join(errs...)
}
