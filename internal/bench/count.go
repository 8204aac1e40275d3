package bench

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

// counted is how many transactions share one count of forced writes.
const counted = 20

// count finds the round trips and the forced writes of one kind of work.
func (b *bench) count(ctx context.Context, w work, l *Line) (err error) {
	// Postgres adds up what a connection has done when it closes.
	b.plain.SetMaxIdleConns(0)
	defer b.plain.SetMaxIdleConns(2)
	if l.PlainTrips, l.PlainForced, err = b.countOne(ctx, w, false); err != nil {
		return err
	}
	l.LocalTrips, l.WholeForced, err = b.countOne(ctx, w, true)
	return err
}

func (b *bench) countOne(ctx context.Context, w work, global bool) (trips int, forced float64, err error) {
	trips, err = b.trips(ctx, w, global)
	if err != nil {
		return 0, 0, err
	}
	before, ok, err := b.forced(ctx)
	if err != nil || !ok {
		return trips, -1, err
	}
	var repairs []undo.Statement
	db, _, err := b.Open(global, false)
	if err != nil {
		return 0, 0, err
	}
	defer db.Close()
	for range counted {
		job := w.prepare(b)
		repairs, job.repair = append(repairs, job.repair...), nil // it would count
		if err := b.around(ctx, job, func() error { return b.any(ctx, db, job, global, nil) }); err != nil {
			return 0, 0, err
		}
	}
	db.Close()
	after, _, err := b.forced(ctx)
	if err != nil {
		return 0, 0, err
	}
	return trips, float64(after-before) / counted, b.repair(ctx, repairs)
}

// trips counts one transaction; those before it open connections and read the
// catalogue.
func (b *bench) trips(ctx context.Context, w work, global bool) (int, error) {
	db, relay, err := b.Open(global, true)
	if err != nil {
		return 0, err
	}
	defer db.Close()
	n := -1
	for range 3 {
		job := w.prepare(b)
		err := b.around(ctx, job, func() error {
			return b.any(ctx, db, job, global, func(run func() error) error {
				if relay == nil {
					return run()
				}
				from := relay.RoundTrips()
				err := run()
				n = relay.RoundTrips() - from
				return err
			})
		})
		if err != nil {
			return 0, err
		}
	}
	return n, nil
}

// any runs a job in either kind of transaction. around, if not nil, gets the
// local transaction: phase two works beside it.
func (b *bench) any(ctx context.Context, db *sql.DB, j job, global bool, around func(run func() error) error) error {
	local := func(ctx context.Context) error {
		run := func() error {
			_, err := b.local(ctx, db, j)
			return err
		}
		if around == nil {
			return run()
		}
		return around(run)
	}
	if !global {
		return local(ctx)
	}
	return gtx.Run(ctx, local, gtx.WithCoordinator(b.Coordinator))
}

// forced reads how often the server has forced its log to the disk. ok is false
// where it does not tell.
func (b *bench) forced(ctx context.Context) (n int64, ok bool, err error) {
	return forced(ctx, b.plain, b.Dialect)
}

func forced(ctx context.Context, db *sql.DB, dialect undo.Dialect) (n int64, ok bool, err error) {
	read := func() (n int64, err error) {
		switch dialect.Name() {
		case "mysql":
			var name string
			err = db.QueryRowContext(ctx, "SHOW GLOBAL STATUS WHERE Variable_name IN ('Innodb_os_log_fsyncs', 'Innodb_data_fsyncs')").Scan(&name, &n)
		case "postgres":
			// Postgres 18 counts in pg_stat_io what was in pg_stat_wal before.
			var version int
			if err = db.QueryRowContext(ctx, "SELECT current_setting('server_version_num')::int").Scan(&version); err != nil {
				break
			}
			from := "SELECT wal_sync FROM pg_stat_wal"
			if version >= 180000 {
				from = "SELECT sum(fsyncs)::bigint FROM pg_stat_io WHERE object = 'wal'"
			}
			err = db.QueryRowContext(ctx, from).Scan(&n)
		}
		return n, err
	}
	if dialect.Name() == "sqlite" {
		return 0, false, nil
	}
	// Connections that have been closed may still be adding.
	for last := int64(-1); ; last = n {
		if n, err = read(); err != nil {
			return 0, false, fmt.Errorf("read count of forced writes: %w", err)
		}
		if n == last {
			return n, true, nil
		}
		select {
		case <-ctx.Done():
			return 0, false, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}
