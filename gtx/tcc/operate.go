package tcc

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/globaltx/globaltx/driver"
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

// ErrNothing is returned by Drop when there is no such guard.
var ErrNothing = errors.New("tcc: there is no such guard")

// Guard is an action that has been tried and not yet confirmed or cancelled.
type Guard struct {
	XID     gtx.XID
	Branch  gtx.BranchID
	Action  string
	Version int
	Args    []byte // JSON
	Created time.Time
	// Tries counts failures of Confirm or Cancel, Reason is the last of them, or why
	// nobody has tried. RetryAt is zero before the first.
	Tries   int
	RetryAt time.Time
	Reason  string
}

// List gives the guards of a database that a driver of this module has opened, those that
// have failed most often first, at most limit. None where the database has no table of them.
func List(ctx context.Context, db *sql.DB, limit int) ([]Guard, error) {
	at, err := driver.DatabaseOf(db)
	if err != nil {
		return nil, fmt.Errorf("list guards of actions: %w", err)
	}
	return ListIn(ctx, db, at.Dialect(), gtx.XID{}, limit)
}

// ListIn is List for a db of the base driver, of one transaction where xid is not zero.
func ListIn(ctx context.Context, db *sql.DB, d undo.Dialect, xid gtx.XID, limit int) ([]Guard, error) {
	t := &table{db: db, d: d, now: time.Now}
	where := ""
	if !xid.IsZero() {
		where = "WHERE xid = '" + xid.String() + "' "
	}
	rows, err := db.QueryContext(gtx.Detach(ctx), t.text("SELECT xid, "+columns+" FROM {tcc} "+where+"ORDER BY tries DESC, created LIMIT "+strconv.Itoa(max(limit, 0))))
	if err != nil {
		if d.Classify(err) == undo.NoTable {
			return nil, nil
		}
		return nil, fmt.Errorf("list guards of actions: %w", err)
	}
	defer rows.Close()
	var all []Guard
	for rows.Next() {
		var text string
		g, err := scanGuard(gtx.XID{}, func(dest ...any) error { return rows.Scan(append([]any{&text}, dest...)...) })
		if err == nil {
			g.xid, err = gtx.ParseXID(text)
		}
		if err != nil {
			return nil, fmt.Errorf("list guards of actions: %w", err)
		}
		shown := Guard{
			XID: g.xid, Branch: g.branch, Action: g.action, Version: g.version, Args: g.args, Created: g.created,
			Tries: g.tries, RetryAt: g.retryAt, Reason: g.reason,
		}
		if g.retryAt.UnixMicro() == 0 {
			shown.RetryAt = time.Time{}
		}
		all = append(all, shown)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list guards of actions: %w", err)
	}
	return all, nil
}

// Drop is for an operator who has done by hand what Confirm or Cancel of a guard was to do: it
// removes the guard, and records who and why in gtx_operator. ErrNothing where there is none,
// gtx.ErrConflict while it is being worked on, or while its Try is open.
func Drop(ctx context.Context, db *sql.DB, d undo.Dialect, xid gtx.XID, branch gtx.BranchID, who, reason string) error {
	const maxWho, maxWhy = 190, 4000 // what gtx_operator takes
	switch {
	case who == "" || len(who) > maxWho:
		return fmt.Errorf("drop guard: want who does it, in at most %d bytes", maxWho)
	case reason == "" || len(reason) > maxWhy:
		return fmt.Errorf("drop guard: want a reason of at most %d bytes", maxWhy)
	}
	t := &table{db: db, d: d, now: time.Now}
	ctx = gtx.Detach(ctx)
	_, err := t.local(ctx, func(tx *sql.Tx) error {
		g := guard{xid: xid, branch: branch}
		if err := t.lock(ctx, tx, &g, false); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, t.text("INSERT INTO {operator} (at, who, xid, tbl, keyh, action, reason) VALUES ({i}, {s}, {s}, {s}, {s}, {s}, {s})"),
			t.now().UnixMicro(), who, xid.String(), "gtx_tcc", strconv.FormatInt(int64(branch), 10), "drop-guard", reason); err != nil {
			return fmt.Errorf("record the operator's action: %w", err)
		}
		g.kept = nil
		return t.remove(ctx, tx, &g)
	})
	if errors.Is(err, errGone) {
		err = ErrNothing
	}
	if err != nil {
		return fmt.Errorf("drop guard %d of %s: %w", branch, xid, t.conflict(err))
	}
	return nil
}
