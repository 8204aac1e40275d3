package undo

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

var _ gtx.Resolver = (*Resolver)(nil)

// Config of a Resolver.
type Config struct {
	// DB opens connections of the base driver, in a small pool of its own, never
	// through the wrapped driver. Affected rows must count matched rows.
	DB      *sql.DB
	Dialect Dialect
	// Coordinator is asked by the scan. It may return nil: then the scan waits.
	Coordinator func() gtx.Coordinator
	// ScanInterval between two scans for leftovers. Zero: 2 s.
	ScanInterval time.Duration
	// LockWait bounds every wait in the database. Zero: 3 s. MySQL counts whole
	// seconds, rounded up.
	LockWait time.Duration
	// Logger, nil: slog.Default.
	Logger *slog.Logger
}

// Resolver ends the branches of one database: phase two of its RM. Any number of
// Resolvers, in any number of processes, may serve one database. Safe for
// concurrent use.
type Resolver struct {
	cfg Config

	// Of the scan.
	cancel context.CancelFunc
	done   chan struct{}

	// mu protects the following.
	mu      sync.Mutex
	id      gtx.ResourceID
	started bool
	stopped bool
	cursor  string          // the scan goes on after this xid
	foreign map[string]bool // told once
	// stuck are the XIDs that were found dirty, with the row that their headers name.
	stuck map[gtx.XID]stuckNote
	last  failure

	count counters
}

// NewResolver checks cfg and fills its defaults. Nothing runs before Start.
func NewResolver(cfg Config) (*Resolver, error) {
	if cfg.DB == nil || cfg.Dialect == nil || cfg.Coordinator == nil {
		return nil, errors.New("undo: Config needs DB, Dialect and Coordinator")
	}
	if cfg.ScanInterval <= 0 {
		cfg.ScanInterval = 2 * time.Second
	}
	if cfg.LockWait <= 0 {
		cfg.LockWait = 3 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &Resolver{cfg: cfg, done: make(chan struct{}), foreign: map[string]bool{}, stuck: map[gtx.XID]stuckNote{}}, nil
}

// Resolve ends what is left of a decided XID in one local transaction (rules P2
// and P3). It is idempotent. The error wraps gtx.ErrDirty when a row is not what
// the XID left there, or cannot be restored any more, or when a constraint
// refuses its before image: then nothing was changed, and the rows stay locked;
// the headers are marked so that Stuck lists the XID (rule P8). Any other error
// means: try again.
func (r *Resolver) Resolve(ctx context.Context, res gtx.Resolution) error {
	var found bool
	var err error
	switch res.Status {
	case gtx.Committed:
		found, err = r.commit(ctx, res.XID)
	case gtx.Aborted:
		found, err = r.abort(ctx, res.XID, res.Branches, nil)
	default:
		err = fmt.Errorf("resolve %s: status %s is no decision", res.XID, res.Status)
	}
	if err != nil && r.cfg.Dialect.Classify(err) == Conflict && !errors.Is(err, gtx.ErrConflict) {
		// The database was busy: nothing for an operator to look at.
		err = fmt.Errorf("%w: %w", gtx.ErrConflict, err)
	}
	r.tally(res.Status, found, err)
	r.settled(ctx, res.XID, err)
	return err
}

// settled keeps the books of stuck transactions after phase two has ended with err.
func (r *Resolver) settled(ctx context.Context, xid gtx.XID, err error) {
	var d *dirtyError
	switch {
	case err == nil:
		r.unstuck(xid)
	case errors.As(err, &d):
		r.markStuck(ctx, d)
	}
}

// commit forgets the images (rule P2). It waits for headers that another resolver
// has locked: skipping them would acknowledge what is not done. found tells whether
// anything was left.
func (r *Resolver) commit(ctx context.Context, xid gtx.XID) (found bool, err error) {
	err = r.inTx(ctx, false, true, func(t *localTx) error {
		headers, err := t.headers(ctx, xid, true)
		if err != nil {
			return err
		}
		if r.cfg.Dialect.Name() == "mysql" {
			// By full primary key only: a delete by xid takes gap locks (rule T6).
			for full := true; full; {
				rows, err := t.undoRows(ctx, xid, pageRows)
				if err != nil {
					return err
				}
				slices.SortFunc(rows, func(a, b Row) int { return cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(a.KeyHash, b.KeyHash)) })
				if err := t.deleteUndo(ctx, xid, rows); err != nil {
					return err
				}
				found, full = found || len(rows) > 0, len(rows) == pageRows
			}
		} else {
			n, err := t.exec(ctx, r.text("DELETE FROM gtx_undo WHERE xid = ?"), xid.String())
			if err != nil {
				return fmt.Errorf("delete undo rows: %w", err)
			}
			found = n > 0
		}
		found = found || len(headers) > 0
		return t.deleteHeaders(ctx, xid, headers)
	})
	if err != nil {
		return false, fmt.Errorf("resolve %s as committed: %w", xid, err)
	}
	return found, nil
}

// headers gives the visible branches of xid in ascending order.
func (t *localTx) headers(ctx context.Context, xid gtx.XID, lock bool) ([]gtx.BranchID, error) {
	text := "SELECT branch FROM gtx_branch WHERE xid = ? ORDER BY branch"
	if lock {
		text += t.r.forUpdate()
	}
	lines, err := t.query(ctx, t.r.text(text), xid.String())
	if err != nil {
		return nil, fmt.Errorf("read branch headers: %w", err)
	}
	out := make([]gtx.BranchID, len(lines))
	for i, l := range lines {
		n, err := strconv.ParseInt(l[0], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read branch headers: %w", err)
		}
		out[i] = gtx.BranchID(n)
	}
	return out, nil
}

func (t *localTx) deleteHeaders(ctx context.Context, xid gtx.XID, branches []gtx.BranchID) error {
	for some := range slices.Chunk(branches, bulkRows) {
		args := []any{xid.String()}
		for _, b := range some {
			args = append(args, int64(b))
		}
		text := t.deleteFrom("gtx_branch") + "xid = ? AND branch IN (?" + strings.Repeat(", ?", len(some)-1) + ")"
		if _, err := t.exec(ctx, t.r.text(text), args...); err != nil {
			return fmt.Errorf("delete branch headers: %w", err)
		}
	}
	return nil
}

// Settle tells whether a branch whose COMMIT got no answer has committed (rule
// T5). It inserts the key of its header, which waits for a local transaction that
// is still open. False means dead: it has not committed and never will, or it has
// been undone already. An error means that it is still unknown.
func (r *Resolver) Settle(ctx context.Context, xid gtx.XID, branch gtx.BranchID) (confirmed bool, err error) {
	err = r.inTx(ctx, false, false, func(t *localTx) error {
		_, err := t.exec(ctx, r.text(insertHeader), headerArgs(xid, branch)...)
		if err != nil && r.cfg.Dialect.Classify(err) == Duplicate {
			confirmed = true
			return nil
		}
		return err
	})
	if err != nil {
		return false, fmt.Errorf("settle branch %d of %s: %w", branch, xid, err)
	}
	return confirmed, nil
}

const (
	headerValues = "(?, ?, ?, ?, ?)"
	insertHeader = "INSERT INTO gtx_branch (xid, branch, mode, state, created) VALUES " + headerValues
)

func headerArgs(xid gtx.XID, b gtx.BranchID) []any {
	return []any{xid.String(), int64(b), ModeAT, StateOpen, time.Now().UnixMicro()}
}
