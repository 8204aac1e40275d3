package xa

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

var (
	_ gtx.Resolver = (*Resolver)(nil)
	_ gtx.Voter    = (*Resolver)(nil)
)

// Config of a Resolver.
type Config struct {
	// DB opens connections of the base driver, in a small pool that is not the program's.
	DB      *sql.DB
	Dialect Dialect
	// Classify sorts the errors of DB.
	Classify func(error) undo.ErrorClass
	// Database gives the identity of the database, "" while it is not known.
	Database func() gtx.ResourceID
	// Store, if not nil, stands in for the four above.
	Store Store
	// Coordinator is asked by the scan. It may return nil: then the scan waits.
	Coordinator func() gtx.Coordinator
	// ScanInterval between two looks for leftovers. Zero: 2 s.
	ScanInterval time.Duration
	// Solo runs every call by itself in the goroutine of its caller, and looks once where
	// it would look again after a pause. For a simulation with a clock of its own.
	Solo bool
	// Logger, nil: slog.Default.
	Logger *slog.Logger
}

// Resolver ends the prepared branches of one database: phase two of its RM. Any number
// of Resolvers, in any number of processes, may serve one database. Safe for concurrent
// use.
type Resolver struct {
	cfg    Config
	store  Store
	worker uint64 // names this Resolver to gtx.ScanLeaser
	lists  lists
	wait   sync.WaitGroup // of goroutines
	ctx    context.Context
	cancel context.CancelFunc

	// mu protects the following.
	mu      sync.Mutex
	started bool
	stopped bool
	drained bool
	ready   checked
	// mine are branches that were prepared in this process, until they have ended.
	mine map[gtx.XID][]branch
	// told are the transactions of which a coordinator said that all have prepared.
	told     map[gtx.XID]*told
	claiming bool
	ending   map[gtx.XID]chan struct{} // closed when the one who ends it is done
	spares   []spare
	// attached are the sessions that each listed branch may belong to, see loose.
	attached map[Name][]string
	seen     map[gtx.XID]bool // listed by the last pass
	foreign  map[gtx.XID]bool // told once
	stats    Stats
}

// Stats of a Resolver, since it was made.
type Stats struct {
	// Committed and Aborted count prepared branches that this Resolver has ended.
	Committed, Aborted int64
	// Again counts tries that the server answered with a name it did not know, or not
	// there; Claimed transactions that were decided by what a dead coordinator had told.
	Again, Claimed int64
	// Kept counts connections that wait for a decision, Spare those that wait for a user.
	Kept, Spare int
}

// NewResolver checks cfg and fills its defaults. Nothing runs before Start.
func NewResolver(cfg Config) (*Resolver, error) {
	if cfg.Coordinator == nil || cfg.Store == nil && (cfg.DB == nil || cfg.Dialect == nil || cfg.Classify == nil || cfg.Database == nil) {
		return nil, errors.New("xa: Config needs Coordinator, and Store or DB, Dialect, Classify and Database")
	}
	if cfg.ScanInterval <= 0 {
		cfg.ScanInterval = 2 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	r := &Resolver{
		cfg: cfg, store: cfg.Store, worker: rand.Uint64(), mine: map[gtx.XID][]branch{}, told: map[gtx.XID]*told{},
		ending: map[gtx.XID]chan struct{}{}, foreign: map[gtx.XID]bool{},
		attached: map[Name][]string{},
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	if r.store == nil {
		r.store = sqlStore{cfg}
	}
	r.lists.store = r.store
	return r, nil
}

// Resolve ends what is left of a decided XID (rule X3), or takes note that all its
// branches have prepared (rule H2). It is idempotent. The error wraps gtx.ErrConflict
// while a branch cannot be ended because its session lives, and gtx.ErrAway while the
// database cannot be reached. Any other error means: try again.
func (r *Resolver) Resolve(ctx context.Context, res gtx.Resolution) error {
	switch res.Status {
	case gtx.PreCommitted:
		return r.note(res)
	case gtx.Committed, gtx.Aborted:
	default:
		return fmt.Errorf("resolve %s: status %s is no decision", res.XID, res.Status)
	}
	err := r.alone(ctx, res.XID, func() error { return r.endAll(ctx, res.XID, res.Status == gtx.Committed) })
	switch {
	case err == nil:
		r.forget(res.XID)
		return nil
	case r.store.Classify(err) == undo.Lost:
		err = fmt.Errorf("%w: %w", gtx.ErrAway, err)
	}
	return fmt.Errorf("resolve prepared branches of %s as %s: %w", res.XID, res.Status, err)
}

// End is the share of Resolve that needs no look: branches prepared by this process are
// ended at once, each by its name. For gtx.Tx.Ends. What fails, or is not decided, is
// left to Resolve.
func (r *Resolver) End(ctx context.Context, xid gtx.XID, st gtx.Status) {
	if st != gtx.Committed && st != gtx.Aborted {
		r.release(xid)
		return
	}
	_ = r.alone(ctx, xid, func() error {
		r.endMine(ctx, xid, st == gtx.Committed)
		return nil
	})
	r.forget(xid) // who knows the decision need not claim it
}

// alone keeps two from ending one XID in one process: the second waits for the first.
func (r *Resolver) alone(ctx context.Context, xid gtx.XID, fn func() error) error {
	for {
		r.mu.Lock()
		other, busy := r.ending[xid]
		if !busy {
			done := make(chan struct{})
			r.ending[xid] = done
			r.mu.Unlock()
			defer func() {
				r.mu.Lock()
				delete(r.ending, xid)
				r.mu.Unlock()
				close(done)
			}()
			return fn()
		}
		r.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// How long a listed branch that cannot be ended is looked at again, before whoever asked
// is told to come back.
const (
	againMin, againMax = 5 * time.Millisecond, 160 * time.Millisecond
	againTries         = 6
)

// endAll ends the branches of xid that are kept here and those that the server lists,
// until it lists none. Only that, or the success of the statement, is the end (rule X3).
func (r *Resolver) endAll(ctx context.Context, xid gtx.XID, commit bool) error {
	for try := 0; ; try++ {
		r.endMine(ctx, xid, commit)
		names, err := r.lists.fresh(ctx, r.cfg.Solo)
		if err != nil {
			return err
		}
		names = slices.DeleteFunc(slices.Clone(names), func(n Name) bool { return n.XID != xid })
		if len(names) == 0 {
			return nil
		}
		again, err := r.endNamed(ctx, names, commit)
		if again == nil || err != nil {
			return err
		}
		if try == againTries || r.cfg.Solo || !pause(ctx, min(againMin<<try, againMax)) {
			return fmt.Errorf("a branch is listed and cannot be ended yet (%w): %w", gtx.ErrConflict, again)
		}
	}
}

// errAttached: see loose.
var errAttached = errors.New("its session lives, or the server has not let go of it")

// endNamed ends branches by their names, on any connection. again says that one of them
// has not ended, as far as is known.
func (r *Resolver) endNamed(ctx context.Context, names []Name, commit bool) (again, err error) {
	free, err := r.loose(ctx, names)
	if err != nil {
		return nil, err
	}
	if len(free) < len(names) {
		again = errAttached
	}
	for _, n := range free {
		err := r.store.End(ctx, n, commit)
		switch {
		case err == nil:
			r.count(commit)
		case r.store.Again(err):
			r.mu.Lock()
			r.stats.Again++
			r.mu.Unlock()
			again = err
		default:
			return nil, fmt.Errorf("end branch %s: %w", n, err)
		}
	}
	return again, nil
}

func (r *Resolver) count(commit bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if commit {
		r.stats.Committed++
	} else {
		r.stats.Aborted++
	}
}

// pause waits from half of d to one and a half; false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d/2 + rand.N(d))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Settle tells whether a branch whose PREPARE got no answer is prepared (rule T5). False
// means that it is not known: it may be on its way.
func (r *Resolver) Settle(ctx context.Context, n Name) (prepared bool, err error) {
	names, err := r.lists.fresh(ctx, r.cfg.Solo)
	if err != nil {
		return false, fmt.Errorf("look for branch %s: %w", n, err)
	}
	return slices.Contains(names, n), nil
}

// checked remembers what Check said.
type checked struct {
	until   time.Time
	ability Ability
	err     error
}

const (
	checkedFor = time.Minute
	refusedFor = 5 * time.Second
)

// Able tells what the server can, or the *gtx.UnsupportedError that says why it cannot
// prepare. It asks about once a minute.
func (r *Resolver) Able(ctx context.Context) (Ability, error) {
	r.mu.Lock()
	last := r.ready
	r.mu.Unlock()
	if time.Now().Before(last.until) {
		return last.ability, last.err
	}
	a, err := r.cfg.Dialect.Check(ctx, undo.QueryDB(r.cfg.DB), false)
	if err != nil && !errors.Is(err, gtx.ErrUnsupported) {
		return a, fmt.Errorf("ask whether the server can prepare: %w", err)
	}
	now := checked{time.Now().Add(checkedFor), a, err}
	if err != nil {
		now.until = time.Now().Add(refusedFor)
	}
	r.mu.Lock()
	r.ready = now
	r.mu.Unlock()
	return a, err
}

// ErrDraining is returned by CanCommit after Drain.
var ErrDraining = errors.New("xa: the database is being drained, it takes part in no new three-phase transaction")

// Drain has CanCommit say no from now on, or yes again.
func (r *Resolver) Drain(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drained = on
}

// CanCommit implements gtx.Voter (rule H1).
func (r *Resolver) CanCommit(ctx context.Context) error {
	r.mu.Lock()
	no := r.drained || r.stopped
	r.mu.Unlock()
	if no {
		return ErrDraining
	}
	return r.store.Check(ctx)
}

// Stats tells what the Resolver knows without asking the database.
func (r *Resolver) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	for _, list := range r.mine {
		for _, b := range list {
			if b.conn != nil {
				s.Kept++
			}
		}
	}
	s.Spare = len(r.spares)
	return s
}

// List gives the prepared branches of the database, of every process.
func (r *Resolver) List(ctx context.Context) ([]Name, error) { return r.store.List(ctx) }

// forget drops what is known of an XID of which nothing is left.
func (r *Resolver) forget(xid gtx.XID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.told, xid)
	for n := range r.attached {
		if n.XID == xid {
			delete(r.attached, n)
		}
	}
}

// close ends a connection that nobody else has.
func (r *Resolver) close(c driver.Conn) {
	if err := c.Close(); err != nil {
		r.cfg.Logger.Debug("close connection of a prepared branch", "err", err)
	}
}
