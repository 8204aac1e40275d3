package chaos

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/tcc"
)

// callTable is another system as an action without a database sees it: calls are known by
// their key, each is counted, and a Cancel bars a Try that comes later.
const callTable = "call_row"

func createCalls(ctx context.Context, db *sql.DB) error {
	_, err := db.ExecContext(ctx, "CREATE TABLE "+callTable+" (xid VARCHAR(64) NOT NULL, branch BIGINT NOT NULL,"+
		" tries INTEGER NOT NULL, confirms INTEGER NOT NULL, cancels INTEGER NOT NULL, PRIMARY KEY (xid, branch))")
	if err != nil {
		return fmt.Errorf("create calls: %w", err)
	}
	return nil
}

// call is the action. Its statements are local transactions of their own, at a database that
// knows nothing of the guard.
type call struct {
	db     *sql.DB
	driver string
}

func (c call) exec(ctx context.Context, query string) (int64, error) {
	of, _ := tcc.FromContext(ctx)
	res, err := c.db.ExecContext(ctx, fmt.Sprintf(query, of.XID, int64(of.Branch)))
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (c call) Try(ctx context.Context, _ tcc.Tx, _ int) error {
	_, err := c.exec(ctx, "INSERT INTO "+callTable+" VALUES ('%s', %d, 1, 0, 0)")
	return err
}

func (c call) Confirm(ctx context.Context, _ tcc.Tx, _ int) error {
	n, err := c.exec(ctx, "UPDATE "+callTable+" SET confirms = confirms + 1 WHERE xid = '%s' AND branch = %d")
	if err == nil && n != 1 {
		err = errors.New("confirm finds no try")
	}
	return err
}

func (c call) Cancel(ctx context.Context, _ tcc.Tx, _ int) error {
	again := "ON CONFLICT (xid, branch) DO UPDATE SET"
	if c.driver == "mysql" {
		again = "ON DUPLICATE KEY UPDATE"
	}
	_, err := c.exec(ctx, "INSERT INTO "+callTable+" VALUES ('%s', %d, 0, 0, 1) "+again+" cancels = "+callTable+".cancels + 1")
	return err
}

// openCalls registers the action for one database. It tries until it works, as connectBus.
func openCalls(ctx context.Context, db *sql.DB, name, driver string, c gtx.Coordinator) (*tcc.Resource, *tcc.Handle[int], error) {
	for {
		try, cancel := context.WithTimeout(ctx, 5*time.Second)
		res, err := tcc.Bare(try, "call-"+name, tcc.Config{Coordinator: c})
		cancel()
		if err == nil {
			h, err := tcc.Register(res, "call", call{db, driver})
			return res, h, err
		}
		slog.Warn("open resource for actions without a database", "err", err)
		if wait(ctx, 200*time.Millisecond) != nil {
			return nil, nil, err
		}
	}
}

// callMark stands in the ID of a transfer that comes with a call, too.
const callMark = ".hc"

// callRow is what is known of one key at the other system.
type callRow struct {
	xid                      string
	tries, confirms, cancels int
}

func readCalls(ctx context.Context, db *sql.DB) (all []callRow, err error) {
	rows, err := db.QueryContext(ctx, "SELECT xid, tries, confirms, cancels FROM "+callTable)
	if err != nil {
		return nil, fmt.Errorf("read calls: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var r callRow
		if err := rows.Scan(&r.xid, &r.tries, &r.confirms, &r.cancels); err != nil {
			return nil, fmt.Errorf("read calls: %w", err)
		}
		all = append(all, r)
	}
	return all, rows.Err()
}

// checkCalls compares them with the log: a call whose transaction is committed was confirmed,
// once or more, and never cancelled; any other was never confirmed, and cancelled if its Try
// has come through.
func checkCalls(h *history, fate func(xid string) string, rows []callRow) (bad []string, confirmed, cancelled int) {
	missing := map[string]string{} // XID → transfer
	known := map[string]bool{}
	for id, xids := range h.tries {
		if !strings.Contains(id, callMark) {
			continue
		}
		for _, xid := range xids {
			known[xid] = true
			if fate(xid) == gtx.Committed.String() {
				missing[xid] = id
			}
		}
	}
	for _, r := range rows {
		ok := r.confirms == 0 && (r.cancels > 0 || r.tries == 0)
		if fate(r.xid) == gtx.Committed.String() {
			ok = r.tries == 1 && r.confirms > 0 && r.cancels == 0
		}
		if !ok || !known[r.xid] {
			bad = append(bad, fmt.Sprintf("call of %s, which is %s: %d times tried, %d confirmed, %d cancelled; known: %t",
				r.xid, fate(r.xid), r.tries, r.confirms, r.cancels, known[r.xid]))
		}
		delete(missing, r.xid)
		confirmed, cancelled = confirmed+min(r.confirms, 1), cancelled+min(r.cancels, 1)
	}
	for xid, id := range missing {
		bad = append(bad, fmt.Sprintf("transfer %s is committed as %s, and there is no call", id, xid))
	}
	slices.Sort(bad)
	return bad, confirmed, cancelled
}

// awaitCalls waits until the coordinator keeps no guard, and gives all calls.
func (w *world) awaitCalls(ctx context.Context) (rows []callRow, err error) {
	for {
		left, err := w.bus.Guards(ctx, "", gtx.XID{})
		if err == nil && len(left) == 0 {
			break
		}
		if wait(ctx, 100*time.Millisecond) != nil {
			return nil, fmt.Errorf("%d guards are left: %w", len(left), errors.Join(err, ctx.Err()))
		}
	}
	for _, s := range w.stores {
		more, err := readCalls(ctx, s.admin)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		rows = append(rows, more...)
	}
	return rows, nil
}
