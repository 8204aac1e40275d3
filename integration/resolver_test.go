package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/internal/testserver"
	"github.com/globaltx/globaltx/internal/wire"
	"github.com/globaltx/globaltx/undo"
	"github.com/globaltx/globaltx/xa"
)

// judge is a coordinator that decides what a test says, and pushes nothing.
type judge struct {
	mu     sync.Mutex
	last   uint64
	fate   map[gtx.XID]gtx.Status
	worker uint64 // has the lease to scan rows; prepared branches have another
	hellos int
}

func newJudge() *judge { return &judge{fate: map[gtx.XID]gtx.Status{}} }

func (j *judge) do(f func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	f()
}

func (j *judge) Begin(context.Context, gtx.BeginRequest) (x gtx.XID, err error) {
	j.do(func() { j.last++; x = gtx.XID{Log: 77, Epoch: 1, Seq: j.last} })
	return x, nil
}
func (j *judge) Register(context.Context, gtx.XID, gtx.BranchRef) error { return nil }

func (j *judge) Commit(_ context.Context, _ gtx.XID, _, _ []gtx.BranchRef) (gtx.Status, error) {
	return gtx.Committed, nil
}
func (j *judge) Rollback(context.Context, gtx.XID) (gtx.Status, error) { return gtx.Aborted, nil }

func (j *judge) Outcome(_ context.Context, x gtx.XID) (s gtx.Status, _ error) {
	j.do(func() { s = j.fate[x] })
	return s, nil
}

func (j *judge) Await(ctx context.Context, _, holder gtx.XID) (gtx.Status, error) {
	return j.Outcome(ctx, holder)
}

func (j *judge) Serve(gtx.ResourceID, gtx.Resolver) (func(), error)         { return func() {}, nil }
func (j *judge) Acknowledge(context.Context, gtx.XID, gtx.ResourceID) error { return nil }
func (j *judge) Hello(gtx.ResourceID)                                       { j.do(func() { j.hellos++ }) }

func (j *judge) decide(x gtx.XID, s gtx.Status) { j.do(func() { j.fate[x] = s }) }

func (j *judge) Scan(_ context.Context, r gtx.ResourceID, worker uint64, _ time.Duration) (mine bool, _ error) {
	if _, prepared := xa.Database(r); prepared {
		return true, nil
	}
	j.do(func() {
		if j.worker == 0 {
			j.worker = worker
		}
		mine = j.worker == worker
	})
	return mine, nil
}

// rm is the resolver of one process.
func rm(t testing.TB, s server, dsn string, j *judge, solo bool) *undo.Resolver {
	t.Helper()
	base, err := openers[s.driver](dsn)
	if err != nil {
		t.Fatal(err)
	}
	if base.Resolver == nil {
		base.Resolver = base.Connector
	}
	db := sql.OpenDB(base.Resolver)
	db.SetMaxOpenConns(6)
	db.SetMaxIdleConns(4)
	r, err := undo.NewResolver(undo.Config{
		DB: db, Dialect: base.Dialect, Coordinator: func() gtx.Coordinator { return j }, Solo: solo,
		ScanInterval: 100 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Stop(); db.Close() })
	if _, err := r.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

// finished writes what n committed transactions leave: a header and two undo rows each.
func finished(t testing.TB, db *sql.DB, j *judge, n int) []gtx.XID {
	t.Helper()
	all := make([]gtx.XID, n)
	for from := 0; from < n; from += 100 {
		var heads, rows []string
		for i := from; i < min(n, from+100); i++ {
			x, _ := j.Begin(t.Context(), gtx.BeginRequest{})
			j.decide(x, gtx.Committed)
			all[i] = x
			heads = append(heads, fmt.Sprintf("('%s', %d, 1, 0, 1)", x, x.Seq))
			for k := range 2 {
				rows = append(rows, fmt.Sprintf("('t%d', '%s-%d', '%s', %d, 1, 'I', '[]', '')", k, x, k, x, x.Seq))
			}
		}
		mustExec(t, db, "INSERT INTO gtx_branch (xid, branch, mode, state, created) VALUES "+strings.Join(heads, ","))
		mustExec(t, db, "INSERT INTO gtx_undo (tbl, keyh, xid, branch, seq, op, before_img, schema_fp) VALUES "+strings.Join(rows, ","))
	}
	return all
}

// push delivers to each process what pick says, 64 at a time, until it has ended.
func push(t testing.TB, rms []*undo.Resolver, all []gtx.XID, pick func(i int) []int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	slots := make([]chan struct{}, len(rms))
	for k := range slots {
		slots[k] = make(chan struct{}, 64)
	}
	for i, x := range all {
		for _, k := range pick(i) {
			slots[k] <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots[k] }()
				for {
					err := rms[k].Resolve(ctx, gtx.Resolution{XID: x, Status: gtx.Committed})
					if err == nil || ctx.Err() != nil || !errors.Is(err, gtx.ErrConflict) && !errors.Is(err, gtx.ErrAway) {
						if err != nil {
							t.Errorf("%s: %v", x, err)
						}
						return
					}
					select { // pushed again, but not at once
					case <-ctx.Done():
					case <-time.After(20 * time.Millisecond):
					}
				}
			})
		}
	}
	wg.Wait()
}

// TestResolverBurst: two thousand transactions have ended at once, and ten processes
// have the database open; each hears of a fifth of them, so each is delivered twice, and
// one process scans as well. Every one is ended once.
func TestResolverBurst(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		t.Parallel()
		j, dsn := newJudge(), s.dsn(t)
		rms, n := make([]*undo.Resolver, 10), 2000
		if s.driver == "gtx-sqlite" {
			n = 200 // one writer at a time, who polls for its turn
		}
		for i := range rms {
			rms[i] = rm(t, s, dsn, j, false)
		}
		db := open(t, s, dsn)
		all := finished(t, db, j, n)
		for _, r := range rms {
			r.Start()
		}
		push(t, rms, all, func(i int) []int { return []int{i % 10, (i + 5) % 10} })
		clean(t, db)
		var st undo.Stats
		scanners := 0
		for _, r := range rms {
			one := r.Stats()
			st.Committed, st.Conflicts, st.Failures = st.Committed+one.Committed, st.Conflicts+one.Conflicts, st.Failures+one.Failures
			if one.Scans > 0 {
				scanners++
			}
		}
		if st.Committed != int64(len(all)) || st.Failures != 0 || scanners != 1 {
			t.Errorf("%d ended, %d failures, %d processes scan", st.Committed, st.Failures, scanners)
		}
		t.Logf("%d conflicts", st.Conflicts)
	})
}

// TestP2RoundTrips: transactions that end together share their round trips and COMMIT.
func TestP2RoundTrips(t *testing.T) {
	for _, s := range servers()[1:] {
		t.Run(s.name, func(t *testing.T) {
			dsn := s.dsn(t)
			through, relay, err := wire.Through(strings.TrimPrefix(s.driver, "gtx-"), dsn)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(relay.Close)
			j, db := newJudge(), open(t, s, dsn)
			cost := func(solo bool, n int) (trips float64, rate float64) {
				r := rm(t, s, through, j, solo)
				all := finished(t, db, j, n)
				before, began := relay.RoundTrips(), time.Now()
				push(t, []*undo.Resolver{r}, all, func(int) []int { return []int{0} })
				return float64(relay.RoundTrips()-before) / float64(n), float64(n) / time.Since(began).Seconds()
			}
			alone, slow := cost(true, 200)
			trips, rate := cost(false, 2000)
			t.Logf("alone %.2f round trips and %.0f/s, together %.2f and %.0f/s", alone, slow, trips, rate)
			if trips > 1 || alone < 3 {
				t.Errorf("%.2f round trips for each together, %.2f alone", trips, alone)
			}
		})
	}
}

// TestPoisonedAmong200: one header of a group is locked by somebody else, and a stranger's
// local transaction is open. The others end without it, and it ends when it is free.
func TestPoisonedAmong200(t *testing.T) {
	for _, s := range servers()[1:] {
		t.Run(s.name, func(t *testing.T) {
			j, dsn := newJudge(), s.dsn(t)
			r := rm(t, s, dsn, j, false)
			db := open(t, s, dsn)
			all := finished(t, db, j, 200)
			poison, err := db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelReadCommitted})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = poison.Rollback() }()
			for _, text := range []string{
				fmt.Sprintf("UPDATE gtx_branch SET created = 2 WHERE xid = '%s' AND branch = %d", all[100], all[100].Seq),
				"INSERT INTO gtx_branch (xid, branch, mode, state, created) VALUES ('" + all[50].String() + "0', 1, 1, 0, 1)",
			} {
				if _, err := poison.ExecContext(t.Context(), text); err != nil {
					t.Fatal(err)
				}
			}
			others := append(all[:100:100], all[101:]...)
			first := make(chan error, 1)
			go func() { first <- r.Resolve(t.Context(), gtx.Resolution{XID: all[100], Status: gtx.Committed}) }()
			push(t, []*undo.Resolver{r}, others, func(int) []int { return []int{0} })
			if err := <-first; !errors.Is(err, gtx.ErrConflict) {
				t.Errorf("the poisoned one: %v", err)
			}
			if n, err := leftovers(t.Context(), db); err != nil || n != 3 {
				t.Errorf("%d rows left, %v, want header and undo rows of one", n, err)
			}
			if err := poison.Rollback(); err != nil {
				t.Fatal(err)
			}
			if err := r.Resolve(t.Context(), gtx.Resolution{XID: all[100], Status: gtx.Committed}); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestP2SilentConnection: a connection is lost without a word in the middle of phase two.
// Its transaction is given up, not acknowledged, and done on another one.
func TestP2SilentConnection(t *testing.T) {
	for _, s := range servers()[1:3] {
		for name, at := range map[string]string{"begin": "START TRANSACTION", "lock": "gtx_branch", "commit": "\x03COMMIT"} {
			t.Run(s.name+"/"+name, func(t *testing.T) {
				dsn := s.dsn(t)
				through, relay, err := wire.Through(strings.TrimPrefix(s.driver, "gtx-"), dsn)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(relay.Close)
				j, db := newJudge(), open(t, s, dsn)
				r := rm(t, s, through, j, false)
				all := finished(t, db, j, 2)
				relay.Silence(at)
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				began := time.Now()
				if err := r.Resolve(ctx, gtx.Resolution{XID: all[0], Status: gtx.Committed}); err == nil {
					t.Error("acknowledged, and nobody has committed")
				}
				t.Logf("given up after %s", time.Since(began).Round(time.Millisecond))
				if n, err := leftovers(t.Context(), db); err != nil || n != 6 {
					t.Errorf("%d rows left, %v", n, err)
				}
				push(t, []*undo.Resolver{r}, all, func(int) []int { return []int{0} })
				clean(t, db)
			})
		}
	}
}

// TestScanOfAMixedPage: committed, aborted, undecided and dirty transactions are found
// by one scan. Each ends as it must, and the dirty one stays alone.
func TestScanOfAMixedPage(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		j, dsn := newJudge(), s.dsn(t)
		db := open(t, s, dsn)
		counter(t, db, 40)
		xids := make([]gtx.XID, 40)
		for i := range xids {
			if err := gtx.Run(t.Context(), func(ctx context.Context) error {
				tx, _ := gtx.FromContext(ctx)
				xids[i] = tx.XID()
				return count(ctx, db, i)
			}, gtx.WithCoordinator(j)); err != nil {
				t.Fatal(err)
			}
		}
		mustExec(t, db, "UPDATE counters SET n = 99 WHERE id = 1")
		j.do(func() {
			for i, x := range xids[:30] {
				j.fate[x] = []gtx.Status{gtx.Committed, gtx.Aborted, gtx.Expired}[i%3]
			}
		})
		r := rm(t, s, dsn, j, false)
		deadline := time.Now().Add(time.Minute)
		for left := 0; left != 11; { // the scan of db has its share
			var err error
			if left, err = r.Scan(t.Context()); err != nil && !errors.Is(err, gtx.ErrDirty) && !errors.Is(err, gtx.ErrConflict) || time.Now().After(deadline) {
				t.Fatalf("%d left, %v", left, err)
			}
		}
		for i := range xids {
			want := 1
			switch {
			case i == 1:
				want = 99
			case i < 30 && i%3 != 0:
				want = 0
			}
			if n := counted(t, db, i); n != want {
				t.Errorf("counter %d is %d, want %d", i, n, want)
			}
		}
		if stuck, err := r.Stuck(t.Context()); err != nil || len(stuck) != 1 || stuck[0].XID != xids[1] {
			t.Errorf("stuck: %v, %v", stuck, err)
		}
		mustExec(t, db, "UPDATE counters SET n = 1 WHERE id = 1")
		j.do(func() {
			for _, x := range xids {
				j.fate[x] = gtx.Aborted // what has ended finds nothing (rule P5)
			}
		})
	})
}

// TestServerDiesInPhaseTwo: the database is killed while transactions end in it. While it
// is away nobody waits for it; when it is back all end soon, without a push.
func TestServerDiesInPhaseTwo(t *testing.T) {
	for _, s := range []server{servers()[1], servers()[3]} {
		t.Run(s.name, func(t *testing.T) {
			private := testserver.Private(t, s.name)
			j, dsn := newJudge(), private.DSN()
			r := rm(t, s, dsn, j, false)
			db := open(t, s, dsn)
			all := finished(t, db, j, 1000)
			r.Start()
			for r.Stats().Committed == 0 {
				if err := r.Resolve(t.Context(), gtx.Resolution{XID: all[0], Status: gtx.Committed}); err != nil {
					t.Fatal(err)
				}
			}
			private.Kill()
			deadline := time.Now().Add(time.Minute)
			for {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				err := r.Resolve(ctx, gtx.Resolution{XID: all[999], Status: gtx.Committed})
				cancel()
				if errors.Is(err, gtx.ErrAway) {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("nobody sees that the database is away: %v", err)
				}
			}
			private.Start()
			began := time.Now()
			all = append(all, finished(t, db, j, 100)...)
			clean(t, db)
			j.do(func() {
				if j.hellos == 0 {
					t.Error("nobody has told the coordinator")
				}
			})
			t.Logf("%d ended %s after the server was back", len(all), time.Since(began).Round(time.Millisecond))
		})
	}
}
