package chaos

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/tcc"
	"github.com/globaltx/globaltx/internal/bank"
	"github.com/globaltx/globaltx/undo"
)

// Each database has pots, from which actions hold money until the decision: free, held,
// spent. A hold leaves a row for ever, which counts what came after it.
const (
	pots      = 50
	potMoney  = 1_000_000
	holdTable = "hold_row"
	potTable  = "hold_pot"
)

func createHolds(ctx context.Context, db *sql.DB) error {
	rows := make([]string, pots)
	for i := range rows {
		rows[i] = fmt.Sprintf("(%d, %d, 0, 0)", i+1, potMoney)
	}
	for _, q := range []string{
		"CREATE TABLE " + potTable + " (id INTEGER PRIMARY KEY, free BIGINT NOT NULL, held BIGINT NOT NULL, spent BIGINT NOT NULL)",
		"CREATE TABLE " + holdTable + " (xid VARCHAR(64) NOT NULL, branch BIGINT NOT NULL, pot INTEGER NOT NULL, amount BIGINT NOT NULL," +
			" confirms INTEGER NOT NULL, cancels INTEGER NOT NULL, PRIMARY KEY (xid, branch))",
		"INSERT INTO " + potTable + " VALUES " + strings.Join(rows, ", "),
	} {
		if _, err := db.ExecContext(ctx, q); err != nil {
			return fmt.Errorf("create pots: %w", err)
		}
	}
	return nil
}

// hold is the action. Nothing in it looks whether it was called before: twice shows.
type hold struct{ dialect undo.Dialect }

// held are its arguments.
type held struct {
	Pot    int
	Amount int64
}

// one runs a statement, whose placeholders are written ?, that must change one row.
func (h hold) one(ctx context.Context, tx tcc.Tx, query string, args ...any) error {
	for n := 1; strings.Contains(query, "?") && h.dialect.Placeholder(1) != "?"; n++ {
		query = strings.Replace(query, "?", h.dialect.Placeholder(n), 1)
	}
	res, err := tx.ExecContext(ctx, query, args...)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return errors.Join(err, fmt.Errorf("%d rows changed, not one, by %s", n, query))
	}
	return nil
}

func (h hold) Try(ctx context.Context, tx tcc.Tx, a held) error {
	c, _ := tcc.FromContext(ctx)
	if err := h.one(ctx, tx, "UPDATE "+potTable+" SET free = free - ?, held = held + ? WHERE id = ? AND free >= ?", a.Amount, a.Amount, a.Pot, a.Amount); err != nil {
		return err
	}
	return h.one(ctx, tx, "INSERT INTO "+holdTable+" (xid, branch, pot, amount, confirms, cancels) VALUES (?, ?, ?, ?, 0, 0)",
		c.XID.String(), int64(c.Branch), a.Pot, a.Amount)
}

func (h hold) Confirm(ctx context.Context, tx tcc.Tx, a held) error {
	return h.end(ctx, tx, a, "spent", "confirms")
}

func (h hold) Cancel(ctx context.Context, tx tcc.Tx, a held) error {
	return h.end(ctx, tx, a, "free", "cancels")
}

func (h hold) end(ctx context.Context, tx tcc.Tx, a held, to, count string) error {
	c, _ := tcc.FromContext(ctx)
	if err := h.one(ctx, tx, fmt.Sprintf("UPDATE %s SET held = held - ?, %s = %[2]s + ? WHERE id = ?", potTable, to), a.Amount, a.Amount, a.Pot); err != nil {
		return err
	}
	return h.one(ctx, tx, fmt.Sprintf("UPDATE %s SET %s = %[2]s + 1 WHERE xid = ? AND branch = ?", holdTable, count), c.XID.String(), int64(c.Branch))
}

// openHolds registers the action. It tries until it works, as connectBus.
func openHolds(ctx context.Context, db *sql.DB, driver string, c gtx.Coordinator) (*tcc.Resource, *tcc.Handle[held], error) {
	for {
		try, cancel := context.WithTimeout(ctx, 5*time.Second)
		res, err := tcc.Open(try, db, tcc.Config{Coordinator: c})
		cancel()
		if err == nil {
			h, err := tcc.Register(res, "hold", hold{dialects[driver]})
			return res, h, err
		}
		slog.Warn("open resource for actions", "err", err)
		if wait(ctx, 200*time.Millisecond) != nil {
			return nil, nil, err
		}
	}
}

// holdMark stands in the ID of a transfer that comes with an action.
const holdMark = ".h"

// callShare is how many of the transfers with a hold come with a call, too: one of these.
const callShare = 3

// holdLoad runs transfers of one route, each with a hold at one of its databases, before or
// behind the transfer, in one global transaction, and some with a call between the two.
func (c *appConfig) holdLoad(life context.Context, r *recorder, b *bank.Bank, rt route, at [2]*tcc.Handle[held], far *tcc.Handle[int], seed uint64, stop chan struct{}) {
	choice := []gtx.Mode{gtx.AT, gtx.XA}
	if m, ok := modes[c.Mode]; ok {
		choice = []gtx.Mode{m}
	}
	for n := uint64(1); ; n++ {
		select {
		case <-stop:
			return
		default:
		}
		random := rand.New(rand.NewPCG(seed, n))
		mark := holdMark
		if n%callShare == 0 {
			mark = callMark
		}
		t := bank.Transfer{
			ID:   fmt.Sprintf("%s.%s%s%d", c.Name, rt.Name, mark, n),
			From: 1 + random.IntN(accounts), To: 1 + random.IntN(accounts), Amount: 1 + random.Int64N(100),
		}
		handle, first := at[random.IntN(2)], random.IntN(2) == 0
		fail, race, delay := random.Float64() < 2*c.Fail, random.Float64() < c.Race, time.Duration(random.Int64N(int64(8*time.Millisecond)))
		var last gtx.XID
		err := gtx.Run(life, func(ctx context.Context) error {
			tx, _ := gtx.FromContext(ctx)
			last = tx.XID()
			xid := last
			r.out.tell(event{Kind: kindTry, ID: t.ID, XID: xid.String()})
			if race {
				time.AfterFunc(delay, func() { _, _ = r.Rollback(life, xid) })
			}
			steps := []func() error{
				func() error { return handle.Try(ctx, held{1 + t.From%pots, t.Amount}) },
				func() error { return b.Move(ctx, t, nil) },
			}
			if !first {
				slices.Reverse(steps)
			}
			if mark == callMark {
				steps = slices.Insert(steps, 1, func() error { return far.Try(ctx, 0) })
			}
			for _, step := range steps {
				if err := step(); err != nil {
					return err
				}
			}
			if fail {
				return bank.ErrRefused
			}
			return nil
		}, gtx.WithCoordinator(r), gtx.WithTimeout(txTimeout), gtx.WithRetries(8), gtx.WithMode(choice[random.IntN(len(choice))]))
		r.ended(t.ID, last, err, stop)
	}
}

// holdRow is what a hold has left.
type holdRow struct {
	xid               string
	pot               int
	amount            int64
	confirms, cancels int
}

// ledger is everything about holds in one database.
type ledger struct {
	guards int // rows of gtx_tcc
	rows   []holdRow
	pots   map[int][3]int64 // free, held, spent
}

func readLedger(ctx context.Context, db *sql.DB) (l ledger, err error) {
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM gtx_tcc").Scan(&l.guards); err != nil {
		return l, fmt.Errorf("count guard rows: %w", err)
	}
	rows, err := db.QueryContext(ctx, "SELECT xid, pot, amount, confirms, cancels FROM "+holdTable)
	if err != nil {
		return l, fmt.Errorf("read holds: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var r holdRow
		if err := rows.Scan(&r.xid, &r.pot, &r.amount, &r.confirms, &r.cancels); err != nil {
			return l, fmt.Errorf("read holds: %w", err)
		}
		l.rows = append(l.rows, r)
	}
	if err := rows.Err(); err != nil {
		return l, fmt.Errorf("read holds: %w", err)
	}
	all, err := db.QueryContext(ctx, "SELECT id, free, held, spent FROM "+potTable)
	if err != nil {
		return l, fmt.Errorf("read pots: %w", err)
	}
	defer all.Close()
	l.pots = map[int][3]int64{}
	for all.Next() {
		var id int
		var p [3]int64
		if err := all.Scan(&id, &p[0], &p[1], &p[2]); err != nil {
			return l, fmt.Errorf("read pots: %w", err)
		}
		l.pots[id] = p
	}
	return l, all.Err()
}

// check holds that a pot is what its rows say, and nothing is on hold any more.
func (l ledger) check(name string) (bad []string) {
	if l.guards > 0 {
		bad = append(bad, fmt.Sprintf("%s: %d guard rows are left", name, l.guards))
	}
	spent := map[int]int64{}
	for _, r := range l.rows {
		spent[r.pot] += int64(r.confirms) * r.amount
	}
	for id := 1; id <= pots; id++ {
		if got, want := l.pots[id], [3]int64{potMoney - spent[id], 0, spent[id]}; got != want {
			bad = append(bad, fmt.Sprintf("%s: pot %d has free, held and spent %d, its rows say %d", name, id, got, want))
		}
	}
	return bad
}

// checkHolds compares all rows with the log: a hold whose transaction is committed was
// confirmed once and not cancelled, and is there; the hold of any other was cancelled once,
// and not confirmed.
func checkHolds(h *history, fate func(xid string) string, rows []holdRow) (bad []string, confirmed, cancelled int) {
	missing := map[string]string{} // XID → transfer
	known := map[string]bool{}
	for id, xids := range h.tries {
		if !strings.Contains(id, holdMark) {
			continue
		}
		for _, xid := range xids {
			known[xid] = true
			if fate(xid) == gtx.Committed.String() {
				missing[xid] = id
			}
		}
	}
	seen := map[string]bool{}
	for _, r := range rows {
		want := holdRow{r.xid, r.pot, r.amount, 0, 1}
		if fate(r.xid) == gtx.Committed.String() {
			want.confirms, want.cancels = 1, 0
		}
		if r != want || seen[r.xid] || !known[r.xid] {
			bad = append(bad, fmt.Sprintf("hold of %s, which is %s: %d times confirmed, %d cancelled; another of it: %t; tried: %t",
				r.xid, fate(r.xid), r.confirms, r.cancels, seen[r.xid], known[r.xid]))
		}
		seen[r.xid] = true
		delete(missing, r.xid)
		confirmed, cancelled = confirmed+r.confirms, cancelled+r.cancels
	}
	for xid, id := range missing {
		bad = append(bad, fmt.Sprintf("transfer %s is committed as %s, and there is no hold", id, xid))
	}
	slices.Sort(bad)
	return bad, confirmed, cancelled
}

// awaitHolds waits until no guard row is left, and gives all rows with what is wrong.
func (w *world) awaitHolds(ctx context.Context) (rows []holdRow, bad []string, err error) {
	for _, s := range w.stores {
		for {
			l, err := readLedger(ctx, s.admin)
			if err == nil && l.guards == 0 {
				rows, bad = append(rows, l.rows...), append(bad, l.check(s.name)...)
				break
			}
			if wait(ctx, 50*time.Millisecond) != nil {
				return rows, append(bad, l.check(s.name)...), errors.Join(err, ctx.Err())
			}
		}
	}
	return rows, bad, nil
}
