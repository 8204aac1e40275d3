package undo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
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
	// Store, if not nil, stands in for DB and Dialect, which may be nil then: phase
	// two, Settle and Scan run on it, nothing else does.
	Store Store
	// Coordinator is asked by the scan. It may return nil: then the scan waits.
	Coordinator func() gtx.Coordinator
	// ScanInterval between two scans for leftovers. Zero: 2 s.
	ScanInterval time.Duration
	// LockWait bounds every wait in the database. Zero: 3 s. MySQL counts whole
	// seconds, rounded up.
	LockWait time.Duration
	// Solo runs every call by itself in the goroutine of its caller: nothing is gathered
	// in one local transaction, nobody waits for another caller, a database that is
	// away is not waited for, the scan asks one question after the other. For a
	// simulation with a clock and an order of its own.
	Solo bool
	// Logger, nil: slog.Default.
	Logger *slog.Logger
}

// Resolver ends the branches of one database: phase two of its RM. Any number of
// Resolvers, in any number of processes, may serve one database. Safe for
// concurrent use.
type Resolver struct {
	cfg   Config
	store Store
	db    reach
	group group
	// free and locked bound what runs beside the group.
	free, locked chan struct{}

	// Of the scan.
	worker uint64 // names this Resolver to gtx.ScanLeaser
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
	apart map[gtx.XID]bool // have met a lock: see alone
	last  failure

	count counters
}

// NewResolver checks cfg and fills its defaults. Nothing runs before Start.
func NewResolver(cfg Config) (*Resolver, error) {
	if cfg.Store == nil && (cfg.DB == nil || cfg.Dialect == nil) || cfg.Coordinator == nil {
		return nil, errors.New("undo: Config needs DB and Dialect, or Store, and Coordinator")
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
	r := &Resolver{
		cfg: cfg, store: cfg.Store, done: make(chan struct{}), worker: rand.Uint64(),
		free: make(chan struct{}, freeLanes), locked: make(chan struct{}, lockedLanes),
		foreign: map[string]bool{}, stuck: map[gtx.XID]stuckNote{}, apart: map[gtx.XID]bool{},
	}
	if r.store == nil {
		r.store = sqlStore{r}
	}
	r.db.store, r.db.logger, r.db.back = r.store, cfg.Logger, make(chan struct{}, 1)
	return r, nil
}

// Resolve ends what is left of a decided XID in one local transaction (rules P2
// and P3). It is idempotent. The error wraps gtx.ErrDirty when a row is not what
// the XID left there, or cannot be restored any more, or when a constraint
// refuses its before image: then nothing was changed, and the rows stay locked;
// the headers are marked so that Stuck lists the XID (rule P8). It wraps gtx.ErrAway
// while the database cannot be reached. Any other error means: try again.
func (r *Resolver) Resolve(ctx context.Context, res gtx.Resolution) error {
	if err := r.reached(ctx); err != nil {
		return fmt.Errorf("resolve %s: %w", res.XID, err)
	}
	var found bool
	var err error
	switch res.Status {
	case gtx.Committed:
		found, err = r.commit(ctx, res.XID)
	case gtx.Aborted:
		err = r.alone(ctx, res.XID, func(wait time.Duration) (err error) {
			found, err = r.abort(ctx, res.XID, res.Branches, wait, nil)
			return err
		})
	default:
		err = fmt.Errorf("resolve %s: status %s is no decision", res.XID, res.Status)
	}
	if !r.cfg.Solo {
		r.db.heard(ctx, err)
	}
	if err != nil && r.store.Classify(err) == Conflict && !errors.Is(err, gtx.ErrConflict) {
		// The database was busy: nothing for an operator to look at.
		err = fmt.Errorf("%w: %w", gtx.ErrConflict, err)
	}
	r.tally(res.Status, found, err)
	r.settled(ctx, res.XID, err)
	return err
}

// reached returns gtx.ErrAway while the database cannot be reached.
func (r *Resolver) reached(ctx context.Context) error {
	if r.cfg.Solo {
		return nil
	}
	return r.db.enter(ctx)
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

// Settle tells whether a branch whose COMMIT got no answer has committed (rule
// T5). It inserts the key of its header, which waits for a local transaction that
// is still open. False means dead: it has not committed and never will, or it has
// been undone already. An error means that it is still unknown.
func (r *Resolver) Settle(ctx context.Context, xid gtx.XID, branch gtx.BranchID) (confirmed bool, err error) {
	err = r.transact(ctx, TxOptions{LockWait: r.cfg.LockWait}, false, func(tx StoreTx) (err error) {
		confirmed, err = tx.Claim(ctx, Header{xid, branch})
		return err
	})
	if err != nil {
		return false, fmt.Errorf("settle branch %d of %s: %w", branch, xid, err)
	}
	return confirmed, nil
}
