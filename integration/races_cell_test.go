package integration

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/natsbus"
	"github.com/globaltx/globaltx/undo"
)

// turnsEach are the turns of outside writers that begin with each captured
// transaction. Writers without a bound would leave SQLite's only lock to nobody.
const turnsEach = 6

// cell is one race: a shape on one server at one isolation level.
type cell struct {
	testing.TB
	shape       shape
	table, text string
	n           int
	seed        uint64
	level       sql.IsolationLevel
	bus         *natsbus.Bus
	db, outside *sql.DB
	operator    *undo.Resolver
	dialect     undo.Dialect
	undoTable   *undo.Table
	turns       chan struct{} // one for each turn of an outside writer

	exact, stale, committed, aborted, conflicts, writes, gaveWay, lost atomic.Int64

	// mu protects the following.
	mu   sync.Mutex
	vers map[int]int                  // committed by us, by key
	outs map[int]int                  // by outside writers, by key
	held map[gtx.XID]map[rowOfXID]int // keys of aborted transactions' rows
	kept int                          // rows that an operator left as they were
}

type rowOfXID struct{ table, keyHash string }

func (c *cell) tally() string {
	return fmt.Sprintf("%d | %d | %d | %d | %d | %d | %d | %d | %d", c.exact.Load(), c.stale.Load(), c.committed.Load(), c.aborted.Load(),
		c.conflicts.Load(), c.kept, c.writes.Load(), c.lost.Load(), c.gaveWay.Load())
}

func (c *cell) sql(text string) string { return strings.ReplaceAll(text, "TABLE", c.table) }

func (c *cell) run() {
	c.Helper()
	c.vers, c.outs, c.held = map[int]int{}, map[int]int{}, map[gtx.XID]map[rowOfXID]int{}
	mustExec(c, c.outside, "CREATE TABLE "+c.table+" (id int PRIMARY KEY, grp int NOT NULL, ver int NOT NULL, outs int NOT NULL)")
	for id := 1; id <= 12; id++ {
		mustExec(c, c.outside, fmt.Sprintf("INSERT INTO %s VALUES (%d, %d, 0, 0)", c.table, id, id%2))
	}
	committed(c, c.bus, execs(c.db, c.sql("UPDATE TABLE SET ver = ver WHERE id = 1"))) // makes our tables
	ctx, cancel := context.WithTimeout(c.Context(), 2*time.Minute)
	defer cancel()
	c.turns = make(chan struct{}, c.n*turnsEach)
	stop := make(chan struct{})
	var inside, around sync.WaitGroup
	capturers, writers := 3, 2
	if c.dialect.Name() == "sqlite" {
		// It has one lock for all, whose waiters sleep up to 100 ms at a time.
		capturers, writers = 2, 1
	}
	for w := range writers {
		around.Go(func() { c.write(ctx, w, stop) })
	}
	around.Go(func() { c.operate(ctx, stop) })
	for w := range capturers {
		inside.Go(func() {
			r := rand.New(rand.NewPCG(c.seed, uint64(100+w)))
			for done, try := 0, 0; done < c.n/capturers && try < 10*c.n; try++ {
				if c.transaction(ctx, r, done%2 == 0) {
					done++
				}
			}
		})
	}
	inside.Wait()
	close(stop)
	around.Wait()
	if !c.Failed() {
		c.end(ctx)
	}
}

// transaction runs the captured statement, checks its images and ends it; false
// when it was in conflict.
func (c *cell) transaction(ctx context.Context, r *rand.Rand, abort bool) (ended bool) {
	var rows map[rowOfXID]int
	var xid gtx.XID
	text := fmt.Sprintf(c.sql(c.text), 1+r.IntN(stable))
	for range turnsEach {
		select {
		case c.turns <- struct{}{}:
		default: // after many conflicts
		}
	}
	err := c.bus.Run(ctx, func(ctx context.Context) error {
		g, _ := gtx.FromContext(ctx)
		xid = g.XID()
		tx, err := c.db.BeginTx(ctx, &sql.TxOptions{Isolation: c.level})
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }()
		res, err := tx.ExecContext(ctx, text)
		if err != nil {
			return err
		}
		if rows, err = c.images(ctx, tx, xid, res); err != nil {
			return err
		}
		// Before the local commit, so that the operator finds it.
		c.mu.Lock()
		c.held[xid] = rows
		c.mu.Unlock()
		if err := tx.Commit(); err != nil {
			return err
		}
		if abort {
			return errUndo
		}
		return nil
	}, gtx.WithRetries(0))
	switch {
	case err == nil:
		c.committed.Add(1)
		c.mu.Lock()
		for _, id := range rows {
			c.vers[id]++
		}
		c.mu.Unlock()
	case errors.Is(err, errUndo):
		c.aborted.Add(1)
	case errors.Is(err, gtx.ErrConflict):
		c.conflicts.Add(1)
		return false
	default:
		c.Errorf("%s: %v", text, err)
	}
	return true
}

// images compares each undo row with the row that the statement left, in the
// dialect's own words for people.
func (c *cell) images(ctx context.Context, tx *sql.Tx, xid gtx.XID, res sql.Result) (map[rowOfXID]int, error) {
	lines, err := undo.QueryDB(tx)(ctx, "SELECT tbl, keyh, branch, seq, op, schema_fp FROM gtx_undo WHERE xid = '"+xid.String()+"'")
	if err != nil {
		return nil, fmt.Errorf("read undo rows: %w", err)
	}
	rows, changed := map[rowOfXID]int{}, int64(0)
	for _, l := range lines {
		t, err := c.known(ctx, l[0])
		if err != nil {
			return nil, err
		}
		branch, berr := strconv.ParseInt(l[2], 10, 64)
		seq, serr := strconv.ParseInt(l[3], 10, 64)
		if err := errors.Join(berr, serr); err != nil {
			return nil, err
		}
		row := undo.Row{Table: l[0], KeyHash: l[1], XID: xid, Branch: gtx.BranchID(branch), Seq: seq, Op: undo.Op(l[4]), Fingerprint: l[5]}
		show := c.dialect.Show(t, &row)
		shown, err := undo.QueryDB(tx)(ctx, show.Text, show.Args...)
		if err != nil || len(shown) != 1 {
			return nil, fmt.Errorf("show undo row: %d lines, %w", len(shown), err)
		}
		before, now := columns(shown[0][4]), columns(shown[0][5])
		if row.Op == undo.Insert && now != nil && now[2] != 1 {
			// At REPEATABLE READ PostgreSQL also shows the row with this key that somebody
			// has deleted since the snapshot: of two rows Show has taken the other.
			again, err := undo.QueryDB(tx)(ctx, fmt.Sprintf(c.sql("SELECT id FROM TABLE WHERE id = %d AND ver = 1"), now[0]))
			if err != nil {
				return nil, fmt.Errorf("look for the inserted row: %w", err)
			}
			if len(again) == 1 {
				now[2] = 1
			}
		}
		switch {
		case row.Op == undo.Insert && now != nil && now[2] == 1, row.Op == undo.Update && before != nil && now != nil && now[2] == before[2]+1:
			c.exact.Add(1)
		default:
			c.stale.Add(1)
			c.Errorf("undo row %s of %s: before %v, the statement left %v", row.Op, xid, before, now)
		}
		changed++
		if row.Op == undo.Update && strings.Contains(c.text, "ON DUPLICATE") {
			changed++ // as MySQL counts
		}
		if now != nil {
			rows[rowOfXID{row.Table, row.KeyHash}] = now[0]
		}
	}
	if n, err := res.RowsAffected(); err != nil || n != changed {
		c.Errorf("%d rows affected (%v), %d captured", n, err, changed)
	}
	return rows, nil
}

func (c *cell) known(ctx context.Context, id string) (*undo.Table, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.undoTable == nil {
		var err error
		if c.undoTable, err = c.dialect.Table(ctx, undo.QueryDB(c.outside), id); err != nil {
			return nil, err
		}
	}
	return c.undoTable, nil
}

// columns reads an image of numbers; nil for no image.
func columns(image string) []int {
	var texts []string
	if image == "" || json.Unmarshal([]byte(image), &texts) != nil {
		return nil
	}
	out := make([]int, len(texts))
	for i, text := range texts {
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil
		}
		out[i] = n
	}
	return out
}

// write is an outside writer. Each has stable rows of its own, so that a count of
// writes to a row has no race of its own.
func (c *cell) write(ctx context.Context, w int, stop <-chan struct{}) {
	r := rand.New(rand.NewPCG(c.seed, uint64(w)))
	for {
		select {
		case <-stop:
			return
		case <-c.turns:
		}
		id := 1 + w + 2*r.IntN(stable/2)
		switch {
		case c.shape.comes && r.IntN(2) == 0:
			come := 9 + r.IntN(4)
			c.outsideExec(ctx, fmt.Sprintf("DELETE FROM TABLE WHERE id = %d", come))
			c.outsideExec(ctx, fmt.Sprintf("INSERT INTO TABLE (id, grp, ver, outs) SELECT %d, 1, 1000, 0 FROM pick WHERE grp = 1 AND NOT EXISTS (SELECT 1 FROM TABLE AS x WHERE x.id = %[1]d)", come))
		case c.shape.moves:
			c.count(id, c.outsideExec(ctx, fmt.Sprintf("UPDATE TABLE SET id = id + 100, outs = outs + 1 WHERE id = %d", id)))
			for ctx.Err() == nil { // it must come back, or its writes could not be counted
				n := c.outsideExec(ctx, fmt.Sprintf("UPDATE TABLE SET id = id - 100, outs = outs + 1 WHERE id = %d", id+100))
				c.count(id, n)
				if n >= 0 {
					break
				}
			}
		default:
			c.count(id, c.outsideExec(ctx, fmt.Sprintf("UPDATE TABLE SET grp = 1 - grp, outs = outs + 1 WHERE id = %d", id)))
		}
	}
}

func (c *cell) count(id int, n int64) {
	if n == 1 {
		c.mu.Lock()
		c.outs[id]++
		c.mu.Unlock()
	}
}

// outsideExec gives the affected rows; -1 when the database made the writer give
// way.
func (c *cell) outsideExec(ctx context.Context, text string) int64 {
	res, err := c.outside.ExecContext(ctx, c.sql(text))
	switch class := c.dialect.Classify(err); {
	case err == nil:
		c.writes.Add(1)
		n, err := res.RowsAffected()
		if err != nil {
			c.Error(err)
		}
		return n
	case class == undo.Conflict || class == undo.Duplicate:
		c.gaveWay.Add(1)
		return -1
	default:
		c.Errorf("outside: %s: %v", text, err)
		return 0
	}
}

// operate keeps the rows that outside writers have written over ours: that is what
// an outside write to a held row ends in (rule P8).
func (c *cell) operate(ctx context.Context, stop <-chan struct{}) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for stopped := false; ; {
		stuck, err := c.operator.Stuck(ctx)
		if err != nil && c.dialect.Classify(err) != undo.Conflict {
			c.Errorf("list stuck transactions: %v", err)
			return
		}
		for _, s := range stuck {
			done, err := c.operator.Operate(ctx, undo.Operation{XID: s.XID, Action: undo.KeepCurrent, Who: "race", Reason: "an outside writer was there"})
			if err != nil && !errors.Is(err, undo.ErrNothing) && !errors.Is(err, gtx.ErrConflict) {
				c.Errorf("keep rows of %s: %v", s.XID, err)
				return
			}
			c.mu.Lock()
			for _, row := range done.Rows {
				c.kept++
				if id, ok := c.held[s.XID][rowOfXID{row.Table, row.KeyHash}]; ok {
					c.vers[id]++
				}
			}
			c.mu.Unlock()
		}
		if n, err := leftovers(ctx, c.outside); stopped && err == nil && n == 0 {
			return
		}
		select {
		case <-ctx.Done():
			c.Error("transactions are left")
			return
		case <-stop:
			stopped = true
		case <-tick.C:
		}
		if stopped {
			stop = nil
		}
	}
}

// end holds that the stable rows have every write, ours and theirs, and no other.
func (c *cell) end(ctx context.Context) {
	c.Helper()
	lines, err := undo.QueryDB(c.outside)(ctx, fmt.Sprintf("SELECT id, ver, outs FROM %s WHERE id <= %d ORDER BY id", c.table, stable))
	if err != nil || len(lines) != stable {
		c.Fatalf("%d of %d stable rows (%v)", len(lines), stable, err)
	}
	for id := 1; id <= stable; id++ {
		ver, outs := lines[id-1][1], lines[id-1][2]
		if outs != strconv.Itoa(c.outs[id]) {
			c.lost.Add(1)
			c.Errorf("row %d has %s outside writes of %d", id, outs, c.outs[id])
		}
		if !c.shape.moves && ver != strconv.Itoa(c.vers[id]) {
			c.Errorf("row %d has version %s, want %d", id, ver, c.vers[id])
		}
	}
	if c.exact.Load() == 0 || c.writes.Load() == 0 || c.committed.Load() == 0 || c.aborted.Load() == 0 {
		c.Errorf("there was no race: %s", c.tally())
	}
	c.Logf("seed %d: %s", c.seed, c.tally())
}
