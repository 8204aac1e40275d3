package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/globaltx/globaltx/driver"
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/coordinator"
	"github.com/globaltx/globaltx/natsbus"
	"github.com/globaltx/globaltx/undo"
)

// volume gives a size for every run, or the full one with GTX_VOLUME=full.
func volume(every, full int) int {
	if os.Getenv("GTX_VOLUME") == "full" {
		return full
	}
	return every
}

// heapPeak runs fn and gives how far the heap grew over what it was before.
func heapPeak(fn func()) int {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	base := m.HeapInuse
	stop, peak := make(chan struct{}), base
	var wg sync.WaitGroup
	wg.Go(func() {
		var m runtime.MemStats
		for tick := time.NewTicker(20 * time.Millisecond); ; {
			select {
			case <-stop:
				tick.Stop()
				return
			case <-tick.C:
				runtime.ReadMemStats(&m)
				peak = max(peak, m.HeapInuse)
			}
		}
	})
	fn()
	close(stop)
	wg.Wait()
	return int(peak - base)
}

// fill makes rows 1..n of a table big (id, n, name), outside any transaction.
func fill(t *testing.T, s server, db *sql.DB, n int) {
	t.Helper()
	mustExec(t, db, "CREATE TABLE big (id INT PRIMARY KEY, n INT NOT NULL, name VARCHAR(40) NOT NULL)")
	for from := 1; from <= n; from += 1000 {
		var b strings.Builder
		for i := from; i < from+1000 && i <= n; i++ {
			fmt.Fprintf(&b, ",(%d,%d,'row %d')", i, i, i)
		}
		mustExec(t, db, "INSERT INTO big (id, n, name) VALUES "+b.String()[1:])
	}
}

func ask(t *testing.T, db *sql.DB, query string) (n int) {
	t.Helper()
	if err := db.QueryRowContext(context.Background(), query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// TestVolumeRows changes many rows by one statement: the client must not hold them.
func TestVolumeRows(t *testing.T) {
	n := volume(12_000, 100_000) // more than a page of phase two
	onEach(t, func(t *testing.T, s server) {
		bus, db := embedded(t), open(t, s, s.dsn(t))
		fill(t, s, db, n)
		for i, commit := range []bool{true, false} {
			want := ask(t, db, "SELECT COUNT(*) FROM big WHERE n = id")
			if commit {
				want = 0
			}
			var run, rest time.Duration
			grown := heapPeak(func() {
				begin := time.Now()
				err := bus.Run(t.Context(), func(ctx context.Context) error {
					if _, err := db.ExecContext(ctx, "UPDATE big SET n = n + 1"); err != nil || commit {
						return err
					}
					return errChanged
				}, gtx.WithTimeout(10*time.Minute))
				run = time.Since(begin)
				if commit && err != nil || !commit && !errors.Is(err, errChanged) {
					t.Fatal(err)
				}
				begin = time.Now()
				settle(t, db)
				rest = time.Since(begin)
			})
			t.Logf("%d rows, committed %t: %v, phase two %v, heap +%d KiB", n, commit, run, rest, grown>>10)
			limit := 48 << 20
			if s.driver == "gtx-sqlite" {
				limit += n << 10 // capture itself runs in this process, and keeps the keys of the rows
			}
			if grown > limit {
				t.Errorf("heap grew by %d MiB, want at most %d", grown>>20, limit>>20)
			}
			if st := ended(t, db, int64(i+1)); st.Committed != 1 || commit != (st.Aborted == 0) || !commit && st.Restored != int64(n) {
				t.Errorf("stats %+v", st)
			}
			if got := ask(t, db, "SELECT COUNT(*) FROM big WHERE n = id"); got != want {
				t.Errorf("committed %t: %d rows as before, want %d", commit, got, want)
			}
			if commit {
				mustExec(t, db, "UPDATE big SET n = id")
			}
		}
	})
}

// ended gives the stats of db once phase two has counted n transactions, which it
// does after it has committed.
func ended(t *testing.T, db *sql.DB, n int64) undo.Stats {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for tick := time.NewTicker(time.Millisecond); ; <-tick.C {
		st, ok := driver.Stats(db)
		if !ok {
			t.Fatal("no stats")
		}
		if st.Committed+st.Aborted >= n || time.Now().After(deadline) {
			tick.Stop()
			return st
		}
	}
}

// settle is clean with more time.
func settle(t *testing.T, db *sql.DB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	for tick := time.NewTicker(10 * time.Millisecond); ; {
		n, err := leftovers(ctx, db)
		if err == nil && n == 0 {
			tick.Stop()
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%d rows left (%v)", n, err)
		case <-tick.C:
		}
	}
}

// TestVolumeWideRow: a row is kept and restored whole, or the statement fails before
// it counts. An image never comes out as NULL.
func TestVolumeWideRow(t *testing.T) {
	full := volume(3<<20, 64<<20)
	onEach(t, func(t *testing.T, s server) {
		bus, db := embedded(t), open(t, s, s.dsn(t))
		kind, value, sum := "LONGBLOB", "REPEAT(x'61', %d)", "SHA2(b, 256)"
		sizes := []int{full, 1}
		switch s.family() {
		case "gtx-postgres":
			kind, value, sum = "BYTEA", "convert_to(repeat('a', %d), 'UTF8')", "encode(sha256(b), 'hex')"
		case "gtx-sqlite":
			kind, value, sum = "BLOB", "CAST(replace(hex(zeroblob(%d)), '00', 'a') AS BLOB)", "hex(substr(b, -40))"
		default: // the image takes two letters for a byte: one that just fits, and one that does not
			half := ask(t, db, "SELECT @@max_allowed_packet") / 2
			sizes = append(sizes, half+1000)
			if volume(0, 1) == 1 {
				sizes = append(sizes, half-1000)
			}
		}
		mustExec(t, db, "CREATE TABLE wide (id INT PRIMARY KEY, b "+kind+", n INT)")
		for _, size := range sizes {
			mustExec(t, db, "DELETE FROM wide")
			if _, err := db.ExecContext(t.Context(), "INSERT INTO wide (id, b, n) VALUES (1, "+fmt.Sprintf(value, size)+", 1)"); err != nil {
				t.Logf("the server itself refuses a row of %d bytes: %v", size, err)
				continue
			}
			state := func() (text string) {
				t.Helper()
				if err := db.QueryRowContext(context.Background(), "SELECT "+sum+" FROM wide").Scan(&text); err != nil {
					t.Fatal(err)
				}
				return fmt.Sprint(text, ask(t, db, "SELECT LENGTH(b) FROM wide"), ask(t, db, "SELECT n FROM wide"))
			}
			before := state()
			for _, form := range []string{"UPDATE wide SET n = 2", "UPDATE wide SET b = NULL", "DELETE FROM wide"} {
				begin, answer := time.Now(), error(nil)
				err := bus.Run(t.Context(), func(ctx context.Context) error {
					if _, answer = db.ExecContext(ctx, form); answer != nil {
						return answer
					}
					return errChanged
				}, gtx.WithTimeout(10*time.Minute), gtx.WithRetries(0))
				t.Logf("%d bytes, %s: %v, %v", size, form, time.Since(begin), answer)
				if err == nil || answer == nil && !errors.Is(err, errChanged) {
					t.Errorf("%s: %v", form, err)
				}
				if answer != nil && (size == 1 || !strings.Contains(answer.Error(), "max_allowed_packet")) {
					t.Errorf("%d bytes, %s: %v", size, form, answer)
				}
				settle(t, db)
				if got := state(); got != before {
					t.Errorf("%s: %s, want %s", form, got, before)
				}
			}
		}
	})
}

// TestVolumeBranches: each statement outside a local transaction is a branch.
func TestVolumeBranches(t *testing.T) {
	few, many := 1024, volume(1200, 4096)
	onEach(t, func(t *testing.T, s server) {
		t.Parallel()
		db := open(t, s, s.dsn(t))
		mustExec(t, db, "CREATE TABLE stock (id INT PRIMARY KEY, n INT)")
		mustExec(t, db, "INSERT INTO stock VALUES (1, 0), (2, 0)")
		branches := func(bus *natsbus.Bus, n int) error {
			return bus.Run(t.Context(), func(ctx context.Context) error {
				for i := range n {
					if _, err := db.ExecContext(ctx, fmt.Sprintf("UPDATE stock SET n = n + 1 WHERE id = %d", 1+i%2)); err != nil {
						return err
					}
				}
				return nil
			}, gtx.WithTimeout(10*time.Minute), gtx.WithRetries(0))
		}
		err := branches(embedded(t), few+1)
		if err == nil || !strings.Contains(err.Error(), fmt.Sprint(few)) || !strings.Contains(err.Error(), "branches") {
			t.Errorf("%d branches: %v", few+1, err)
		}
		settle(t, db)
		if n := ask(t, db, "SELECT SUM(n) FROM stock"); n != 0 {
			t.Errorf("sum %d after the refusal", n)
		}
		bus, err := natsbus.Embedded(t.Context(), t.TempDir(), natsbus.WithCoordinator(coordinator.Config{MaxBranches: many}))
		if err != nil {
			t.Fatal(err)
		}
		defer bus.Close()
		begin := time.Now()
		if err := branches(bus, many); err != nil {
			t.Fatal(err)
		}
		run := time.Since(begin)
		settle(t, db)
		t.Logf("%d branches: %v, phase two %v", many, run, time.Since(begin)-run)
		if n := ask(t, db, "SELECT SUM(n) FROM stock"); n != many {
			t.Errorf("sum %d, want %d", n, many)
		}
	})
}

// others writes n undo rows of other transactions, of which no coordinator knows.
func others(t *testing.T, s server, db *sql.DB, n int) {
	t.Helper()
	columns := "INSERT INTO gtx_undo (tbl, keyh, xid, branch, seq, op, before_img, schema_fp) "
	switch s.family() {
	case "gtx-postgres":
		mustExec(t, db, columns+"SELECT 'other', i::text, 'other-' || (i / 1000)::text, 1, i, 'U', repeat('x', 60), 'fp' FROM generate_series(1, "+fmt.Sprint(n)+") AS i")
	case "gtx-sqlite":
		mustExec(t, db, "WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < "+fmt.Sprint(n)+") "+
			columns+"SELECT 'other', i, 'other-' || (i / 1000), 1, i, 'U', hex(zeroblob(30)), 'fp' FROM c")
	default: // doubled, since recursion is bounded and spelled differently
		mustExec(t, db, columns+"VALUES ('other', '1', 'other-0', 1, 1, 'U', '[\"1\"]', 'fp')")
		for have := 1; have < n; have *= 2 {
			mustExec(t, db, fmt.Sprintf("INSERT INTO gtx_undo (tbl, keyh, xid, branch, seq, op, before_img, schema_fp)"+
				" SELECT 'other', seq + %[1]d, CONCAT('other-', (seq + %[1]d) DIV 1000), 1, seq + %[1]d, 'U', before_img, 'fp' FROM (SELECT seq, before_img FROM gtx_undo WHERE tbl = 'other' AND seq + %[1]d <= %[2]d) AS o",
				have, n))
		}
	}
}

// TestVolumeOthers: everything works among many undo rows of others, in capture, in
// phase two and in the scan. What it takes is told, with and without them, and held
// against nothing; TestPlansAreLinear of the MySQL driver counts reads.
func TestVolumeOthers(t *testing.T) {
	n := volume(50_000, 5_000_000)
	onEach(t, func(t *testing.T, s server) {
		bus := embedded(t)
		dsn := s.dsn(t)
		db, err := sql.Open(s.driver, dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		fill(t, s, db, 1000)
		// best of several, each an abort of 100 rows with its scan for leftovers.
		cost := func() time.Duration {
			t.Helper()
			best := time.Hour
			for range 8 {
				begin := time.Now()
				err := bus.Run(t.Context(), func(ctx context.Context) error {
					if _, err := db.ExecContext(ctx, "UPDATE big SET n = n + 1 WHERE id <= 100"); err != nil {
						return err
					}
					return errChanged
				})
				if !errors.Is(err, errChanged) {
					t.Fatal(err)
				}
				for ask(t, db, "SELECT COUNT(*) FROM big WHERE n <> id") > 0 {
					runtime.Gosched()
				}
				best = min(best, time.Since(begin))
			}
			return best
		}
		alone := cost()
		begin := time.Now()
		others(t, s, db, n)
		if got := ask(t, db, "SELECT COUNT(*) FROM gtx_undo WHERE tbl = 'other'"); got != n {
			t.Fatalf("made %d undo rows, want %d", got, n)
		}
		made := time.Since(begin)
		among := cost()
		st, _ := driver.Stats(db)
		t.Logf("%d undo rows of others (made in %v): %v, %v without; %d scans, %v", n, made, among, alone, st.Scans, st.LastError)
		res, closed := resolverOf(t, s, dsn, bus)
		defer closed()
		begin = time.Now()
		left, err := res.Scan(t.Context())
		took := time.Since(begin)
		t.Logf("one scan: %d left, %v", left, took)
		if err != nil || left == 0 {
			t.Errorf("scan: %d left, %v", left, err)
		}
		mustExec(t, db, "DELETE FROM gtx_undo WHERE tbl = 'other'")
	})
}

// resolverOf opens the database as an operator does.
func resolverOf(t *testing.T, s server, dsn string, c gtx.Coordinator) (*undo.Resolver, func()) {
	t.Helper()
	base, err := openers[s.driver](dsn)
	if err != nil {
		t.Fatal(err)
	}
	if base.Resolver == nil {
		base.Resolver = base.Connector
	}
	db := sql.OpenDB(base.Resolver)
	res, err := undo.NewResolver(undo.Config{DB: db, Dialect: base.Dialect, Coordinator: func() gtx.Coordinator { return c }, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return res, func() { db.Close() }
}
