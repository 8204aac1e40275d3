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

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

// tally counts what each row must hold.
type tally struct {
	mu   sync.Mutex
	rows map[int]int
}

func (t *tally) add(row, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows[row] += n
}

// TestGuardTriggerRace: four writers who know nothing of global transactions
// against four that run them, half of which abort, all on the same few rows. No
// transaction gets stuck, and every write that was accepted counts.
// GTX_TEST_GUARD_RACE sets the global transactions of each writer, default 40.
func TestGuardTriggerRace(t *testing.T) {
	const writers, rows = 4, 6
	rounds := 40
	if text := os.Getenv("GTX_TEST_GUARD_RACE"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("GTX_TEST_GUARD_RACE: %v", err)
		}
		rounds = n
	}
	for _, s := range guardServers() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			bus := embedded(t)
			dsn := s.dsn(t)
			db, plain := open(t, s, dsn), outside(t, s, dsn)
			mustExec(t, plain, "CREATE TABLE account (id int PRIMARY KEY, n int NOT NULL)")
			want := &tally{rows: map[int]int{}}
			for i := range rows {
				mustExec(t, plain, fmt.Sprintf("INSERT INTO account VALUES (%d, 1000)", i))
				want.add(i, 1000)
			}
			guard(t, s, plain, "account")
			var refusals, accepted, commits, aborts atomic.Int64
			stop := make(chan struct{})
			var inside, out sync.WaitGroup
			for range writers {
				inside.Go(func() {
					for range rounds {
						from, to, abort := rand.IntN(rows), rand.IntN(rows), rand.IntN(2) == 0
						err := bus.Run(t.Context(), func(ctx context.Context) error {
							for _, step := range []struct{ row, n int }{{from, -7}, {to, 7}} {
								if err := globalWrite(ctx, db, step.row, step.n); err != nil {
									return err
								}
							}
							if abort {
								return errChanged
							}
							return nil
						}, gtx.WithRetries(1000), gtx.WithTimeout(2*time.Minute))
						switch {
						case err == nil && !abort:
							want.add(from, -7)
							want.add(to, 7)
							commits.Add(1)
						case errors.Is(err, errChanged):
							aborts.Add(1)
						default:
							t.Errorf("global transaction: %v", err)
							return
						}
					}
				})
				out.Go(func() {
					for n := 0; ; n++ {
						select {
						case <-stop:
							return
						default:
						}
						row := rand.IntN(rows)
						err := outsideWrite(t.Context(), plain, row, n)
						switch {
						case err == nil:
							want.add(row, 1)
							accepted.Add(1)
						case errors.Is(err, errGone):
						case dialects[s.driver].Classify(err) == undo.Conflict:
							if strings.Contains(err.Error(), "held by") {
								refusals.Add(1)
							}
						default:
							t.Errorf("outside writer: %v", err)
							return
						}
					}
				})
			}
			inside.Wait()
			close(stop)
			out.Wait()
			clean(t, db) // a stuck one would stay
			for row, n := range want.rows {
				var got int
				if err := plain.QueryRow(fmt.Sprintf("SELECT n FROM account WHERE id = %d", row)).Scan(&got); err != nil || got != n {
					t.Errorf("row %d holds %d, want %d (%v)", row, got, n, err)
				}
			}
			t.Logf("%d commits, %d aborts; outside %d writes, %d refused", commits.Load(), aborts.Load(), accepted.Load(), refusals.Load())
			if refusals.Load() == 0 || commits.Load() == 0 || aborts.Load() == 0 || accepted.Load() == 0 {
				t.Error("they have not met")
			}
		})
	}
}

// globalWrite changes a row by UPDATE, or by DELETE and INSERT.
func globalWrite(ctx context.Context, db *sql.DB, row, n int) error {
	if rand.IntN(3) > 0 {
		return retried(oneRow(db.ExecContext(ctx, fmt.Sprintf("UPDATE account SET n = n + %d WHERE id = %d", n, row))))
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if err := replaceRow(ctx, tx, row, n); err != nil {
		return retried(err)
	}
	return tx.Commit()
}

// retried makes the global transaction start again where a row was not there.
func retried(err error) error {
	if errors.Is(err, errGone) {
		return fmt.Errorf("%w: %w", gtx.ErrConflict, err)
	}
	return err
}

func replaceRow(ctx context.Context, tx *sql.Tx, row, n int) error {
	// The write locks the row at every isolation level.
	if err := oneRow(tx.ExecContext(ctx, fmt.Sprintf("UPDATE account SET n = n + %d WHERE id = %d", n, row))); err != nil {
		return err
	}
	var now int
	if err := tx.QueryRowContext(ctx, fmt.Sprintf("SELECT n FROM account WHERE id = %d", row)).Scan(&now); err != nil {
		return err
	}
	for _, text := range []string{fmt.Sprintf("DELETE FROM account WHERE id = %d", row), fmt.Sprintf("INSERT INTO account VALUES (%d, %d)", row, now)} {
		if _, err := tx.ExecContext(ctx, text); err != nil {
			return err
		}
	}
	return nil
}

// outsideWrite adds one to a row, in one of several ways.
func outsideWrite(ctx context.Context, db *sql.DB, row, n int) error {
	levels := []sql.IsolationLevel{sql.LevelReadCommitted, sql.LevelRepeatableRead, sql.LevelSerializable}
	update := fmt.Sprintf("UPDATE account SET n = n + 1 WHERE id = %d", row)
	if n%3 == 0 {
		return oneRow(db.ExecContext(ctx, update))
	}
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: levels[rand.IntN(len(levels))]})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if n%3 == 1 {
		if err := oneRow(tx.ExecContext(ctx, update)); err != nil {
			return err
		}
		return tx.Commit()
	}
	if err := replaceRow(ctx, tx, row, 1); err != nil {
		return err
	}
	return tx.Commit()
}

// errGone is no fault: who waits on Postgres for a row that is deleted and made
// anew meanwhile finds none.
var errGone = errors.New("the row is not there")

func oneRow(res sql.Result, err error) error {
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return fmt.Errorf("%d rows changed: %w", n, errGone)
	}
	return nil
}
