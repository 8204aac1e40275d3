package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/globaltx/globaltx/driver"
	"github.com/globaltx/globaltx/gtx"
)

const (
	raceWorkers  = 64
	raceAccounts = 400
	raceBalance  = 1000
)

// TestRaceOfEverything: 64 goroutines use every way into database/sql at once, inside
// global transactions, joined to them and outside, with contexts that end at any point.
// Money is neither lost nor made, a transaction has happened if and only if Run said
// so, and nothing is left. GTX_SEED repeats a choice of works (not of their timing),
// GTX_RACE_TIME is the time for each server.
func TestRaceOfEverything(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("GTX_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	lasts := 2 * time.Second
	if text := os.Getenv("GTX_RACE_TIME"); text != "" {
		var err error
		if lasts, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("GTX_SEED=%d", seed)
	onEach(t, func(t *testing.T, s server) {
		running := goleak.IgnoreCurrent()
		t.Cleanup(func() { goleak.VerifyNone(t, running) })
		bus := embedded(t)
		db := open(t, s, withParam(s.dsn(t), "gtx_lock_wait=50ms"))
		conns := 24
		if s.driver == "gtx-sqlite" {
			conns = 2 // one writes at a time, and the pool is fairer than the file's lock
		}
		db.SetMaxOpenConns(conns)
		db.SetMaxIdleConns(conns)
		db.SetConnMaxLifetime(lasts / 2)
		mustExec(t, db, "CREATE TABLE ledger (id bigint PRIMARY KEY, w bigint NOT NULL)")
		for _, table := range []string{"inner_account", "outer_account"} {
			mustExec(t, db, "CREATE TABLE "+table+" (id bigint PRIMARY KEY, n bigint NOT NULL)")
			rows := make([]string, raceAccounts)
			for i := range rows {
				rows[i] = fmt.Sprintf("(%d, %d)", i, raceBalance)
			}
			mustExec(t, db, "INSERT INTO "+table+" VALUES "+strings.Join(rows, ", "))
		}
		move := "UPDATE %s SET n = n + CASE WHEN id = " + s.holder(1) + " THEN -1 ELSE 1 END WHERE id IN (" + s.holder(2) + ", " + s.holder(3) + ")"
		r := &race{s: s, db: db, bus: bus, move: move, note: "INSERT INTO ledger VALUES (" + s.holder(1) + ", " + s.holder(2) + ")", said: map[int64]error{}}
		for _, table := range []string{"inner_account", "outer_account"} {
			st, err := db.PrepareContext(t.Context(), fmt.Sprintf(move, table))
			if err != nil {
				t.Fatal(err)
			}
			defer st.Close()
			r.stmts = append(r.stmts, st)
		}
		// The catalogue is read, and the tables of this module are made, without hurry.
		if err := gtx.Run(t.Context(), func(ctx context.Context) error {
			_, err := db.ExecContext(ctx, fmt.Sprintf(move, "inner_account"), 1, 1, 2)
			return err
		}, gtx.WithCoordinator(bus)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), lasts)
		defer cancel()
		hard, stop := context.WithTimeout(t.Context(), 10*time.Second) // on a machine that is busy
		defer stop()
		var wg sync.WaitGroup
		for i := range raceWorkers {
			wg.Go(func() {
				w := &racer{race: r, rng: rand.New(rand.NewPCG(seed, uint64(i)))}
				for ctx.Err() == nil || r.committed.Load() < 3 && hard.Err() == nil {
					w.work(t)
				}
			})
		}
		wg.Wait()
		eventually(t, "all connections are back in the pool", func() bool { return db.Stats().InUse == 0 })
		clean(t, db)
		r.check(t)
		t.Logf("%d runs, %d committed, %d statements outside", len(r.said), r.committed.Load(), r.outside.Load())
		if r.committed.Load() == 0 || int(r.committed.Load()) == len(r.said) || r.outside.Load() == 0 {
			t.Error("the test has not tried both ways")
		}
	})
}

// race is what the goroutines share.
type race struct {
	s          server
	db         *sql.DB
	bus        gtx.Coordinator
	move, note string
	stmts      []*sql.Stmt // prepared outside: a move in inner_account, one in outer_account
	last       atomic.Int64
	committed  atomic.Int64
	outside    atomic.Int64

	// mu protects the following.
	mu   sync.Mutex
	said map[int64]error // what Run told of each entry of the ledger
}

// check compares what is there with what Run has told.
func (r *race) check(t *testing.T) {
	t.Helper()
	for _, table := range []string{"inner_account", "outer_account"} {
		var sum int64
		if err := r.db.QueryRow("SELECT sum(n) FROM " + table).Scan(&sum); err != nil || sum != raceAccounts*raceBalance {
			t.Errorf("sum of %s = %d, %v, want %d", table, sum, err, raceAccounts*raceBalance)
		}
	}
	there := map[int64]bool{}
	rows, err := r.db.Query("SELECT id FROM ledger")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		there[id] = true
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for id, err := range r.said {
		if errors.Is(err, gtx.ErrUnknown) {
			continue
		}
		if there[id] != (err == nil) {
			t.Errorf("run %d: Run said %v, but its row is there: %t", id, err, there[id])
		}
	}
}

// racer is one goroutine.
type racer struct {
	*race
	rng *rand.Rand
}

var errRacePanic = errors.New("panic, please")

// work does one thing, in a global transaction or outside.
func (w *racer) work(t *testing.T) {
	// What waits for the pool or for a lock must not take the test's time.
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	ctx, done := w.perhapsEnds(ctx)
	defer done()
	if w.rng.IntN(4) == 0 {
		w.outside.Add(1)
		_ = w.step(ctx, t, nil, 1)
		return
	}
	id := w.last.Add(1)
	steps, end := 1+w.rng.IntN(4), w.rng.IntN(8)
	var err error
	func() {
		defer func() {
			if p := recover(); p != nil {
				if p != errRacePanic { //nolint:errorlint // the very value
					panic(p)
				}
				err = errRacePanic
			}
		}()
		err = gtx.Run(ctx, func(ctx context.Context) error {
			if _, err := w.db.ExecContext(ctx, w.note, id, 0); err != nil {
				return err
			}
			for range steps {
				if err := w.step(ctx, t, mustFrom(ctx), 0); err != nil && w.rng.IntN(4) > 0 {
					return err // else it is as if nobody had asked for the step
				}
			}
			switch end {
			case 0:
				return errUndo
			case 1:
				panic(errRacePanic)
			}
			return nil
		}, gtx.WithCoordinator(w.bus), gtx.WithRetries(w.rng.IntN(4)), gtx.WithTimeout(2*time.Second))
	}()
	if err == nil {
		w.committed.Add(1)
	}
	w.mu.Lock()
	w.said[id] = err
	w.mu.Unlock()
}

func mustFrom(ctx context.Context) *gtx.Tx {
	g, _ := gtx.FromContext(ctx)
	return g
}

// perhapsEnds gives a context that ends soon, now, or not by itself.
func (w *racer) perhapsEnds(ctx context.Context) (context.Context, func()) {
	switch w.rng.IntN(24) {
	case 0:
		return context.WithTimeout(ctx, time.Duration(w.rng.IntN(5000))*time.Microsecond)
	case 1:
		ctx, cancel := context.WithCancel(ctx)
		stop := time.AfterFunc(time.Duration(w.rng.IntN(20000))*time.Microsecond, cancel)
		return ctx, func() { stop.Stop(); cancel() }
	}
	return ctx, func() {}
}

// step does one thing that keeps the sum, whether it happens or not: in the accounts
// of global transactions where g is not nil, else in the others.
func (w *racer) step(ctx context.Context, t *testing.T, g *gtx.Tx, which int) error {
	ctx, done := w.perhapsEnds(ctx)
	defer done()
	table := []string{"inner_account", "outer_account"}[which]
	from, to := w.rng.IntN(raceAccounts), w.rng.IntN(raceAccounts-1)
	if to >= from {
		to++
	}
	text, args := fmt.Sprintf(w.move, table), []any{from, from, to}
	read := fmt.Sprintf("SELECT id, n FROM %s WHERE id BETWEEN %d AND %d AND n <> %s ORDER BY id", table, from, from+5, w.s.holder(1))
	if w.rng.IntN(6) == 0 && w.s.family() != "gtx-sqlite" {
		read += " FOR UPDATE"
	}
	if w.rng.IntN(3) == 0 {
		ctx = gtx.ReadCommitted(ctx)
	}
	switch n := w.rng.IntN(16); n {
	case 0:
		_, err := w.db.ExecContext(ctx, text, args...)
		return err
	case 1:
		rows, err := w.db.QueryContext(ctx, text, args...)
		if err != nil {
			return err
		}
		return errors.Join(rows.Err(), rows.Close())
	case 2:
		_, err := w.stmts[which].ExecContext(ctx, args...)
		return err
	case 3:
		st, err := w.db.PrepareContext(ctx, text)
		if err != nil {
			return err
		}
		_, err = st.ExecContext(ctx, args...)
		return errors.Join(err, st.Close())
	case 4:
		var id, n int64
		return w.db.QueryRowContext(ctx, read, -1).Scan(&id, &n)
	case 5, 6:
		rows, err := w.db.QueryContext(ctx, read, -1)
		if err != nil {
			return err
		}
		return w.some(rows)
	case 7:
		return w.db.PingContext(ctx)
	case 8:
		if w.rng.IntN(16) > 0 { // it makes all connections read the catalogue again
			return w.db.PingContext(ctx)
		}
		return w.raw(ctx, t)
	case 9:
		if g == nil {
			return nil
		}
		return w.step(gtx.Detach(ctx), t, nil, 1)
	case 10:
		if g == nil {
			return nil
		}
		return w.join(ctx, t, g)
	case 11:
		c, err := w.db.Conn(ctx)
		if err != nil {
			return err
		}
		_, err = c.ExecContext(ctx, text, args...)
		if err == nil {
			var id, n int64
			err = c.QueryRowContext(ctx, read, -1).Scan(&id, &n)
		}
		return errors.Join(err, c.Close())
	}
	return w.local(ctx, which, text, read, args)
}

// join moves in another service's share of g, and reports it.
func (w *racer) join(ctx context.Context, t *testing.T, g *gtx.Tx) error {
	g.Share()
	confirmed, dead, err := gtx.Join(gtx.Detach(ctx), w.bus, g.XID(), func(ctx context.Context) error {
		return w.step(ctx, t, mustFrom(ctx), 0)
	})
	g.Report(confirmed, dead)
	return err
}

// raw reaches the base connection.
func (w *racer) raw(ctx context.Context, t *testing.T) error {
	c, err := w.db.Conn(ctx)
	if err != nil {
		return err
	}
	err = c.Raw(func(dc any) error {
		base, err := driver.Unwrap(dc)
		if err == nil && base == nil {
			t.Error("Unwrap gives nothing")
		}
		return err
	})
	return errors.Join(err, c.Close())
}

// local is a local transaction: a move in one statement or in two, reads, an end.
func (w *racer) local(ctx context.Context, which int, text, read string, args []any) error {
	opts := &sql.TxOptions{}
	if w.rng.IntN(4) == 0 {
		opts.Isolation = sql.LevelSerializable
	}
	tx, err := w.db.BeginTx(ctx, opts)
	if err != nil {
		return err
	}
	for range 1 + w.rng.IntN(3) {
		if err = w.inLocal(ctx, tx, which, text, read, args); err != nil {
			break
		}
	}
	if w.rng.IntN(64) == 0 { // with a second connection
		return errors.Join(err, w.db.PingContext(ctx), tx.Rollback())
	}
	if err != nil {
		return errors.Join(err, tx.Rollback())
	}
	if w.rng.IntN(5) == 0 {
		return tx.Rollback()
	}
	return tx.Commit()
}

func (w *racer) inLocal(ctx context.Context, tx *sql.Tx, which int, text, read string, args []any) error {
	ctx, done := w.perhapsEnds(ctx)
	defer done()
	switch w.rng.IntN(6) {
	case 0:
		st, err := tx.PrepareContext(ctx, text)
		if err != nil {
			return err
		}
		_, err = st.ExecContext(ctx, args...)
		return errors.Join(err, st.Close())
	case 1:
		_, err := tx.StmtContext(ctx, w.stmts[which]).ExecContext(ctx, args...)
		return err
	case 2:
		var id, n int64
		return tx.QueryRowContext(ctx, read, -1).Scan(&id, &n)
	case 3:
		rows, err := tx.QueryContext(ctx, read, -1)
		if err != nil {
			return err
		}
		return w.some(rows)
	case 4:
		_, err := tx.Exec(text, args...)
		return err
	}
	_, err := tx.ExecContext(ctx, text, args...)
	return err
}

// some reads a part of the rows.
func (w *racer) some(rows *sql.Rows) error {
	for range w.rng.IntN(6) {
		if !rows.Next() {
			break
		}
		var id, n int64
		if err := rows.Scan(&id, &n); err != nil {
			return errors.Join(err, rows.Close())
		}
	}
	if w.rng.IntN(2) == 0 && rows.NextResultSet() {
		return errors.Join(errors.New("one SELECT gave two results"), rows.Close())
	}
	return errors.Join(rows.Err(), rows.Close())
}
