package tcc

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/globaltx/globaltx/driver"
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

// DefaultStuckAfter is Config.StuckAfter where it is zero.
const DefaultStuckAfter = 20

// Config of a Resource. The zero value is ready.
type Config struct {
	// Coordinator whose decisions are served from the start. Nil: gtx.Default, and that
	// of the last transaction that has tried an action here.
	Coordinator gtx.Coordinator
	// ScanInterval between two looks for guards that nobody has been told of. Zero: 2 s.
	ScanInterval time.Duration
	// StuckAfter is how many failures of Confirm or Cancel make an action stuck: it is
	// logged as an error and counted, and tried on. Zero: DefaultStuckAfter, about five
	// minutes.
	StuckAfter int
	// Workers is how many Confirm and Cancel of one action run at a time, and how many
	// transactions this Resource looks after at a time by itself, while none of their
	// actions runs. Each takes a connection of the database's pool. Zero: 8.
	Workers int
	// Timeout bounds one call of Confirm or Cancel: its context ends then. Zero: 30 s.
	Timeout time.Duration
	// Logger, nil: that of the database, else slog.Default.
	Logger *slog.Logger

	now func() time.Time
}

func (c Config) withDefaults() Config {
	if c.ScanInterval <= 0 {
		c.ScanInterval = 2 * time.Second
	}
	if c.StuckAfter <= 0 {
		c.StuckAfter = DefaultStuckAfter
	}
	if c.Workers <= 0 {
		c.Workers = 8
	}
	if c.Timeout <= 0 {
		c.Timeout = 30 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.now == nil {
		c.now = time.Now
	}
	return c
}

var _ gtx.Resolver = (*Resource)(nil)

// Resource is where actions are tried, confirmed and cancelled: a database, in this process.
// Any number of Resources, in any number of processes, may be one database. Safe for
// concurrent use.
type Resource struct {
	cfg    Config
	id     gtx.ResourceID
	guards guards
	ctx    context.Context // of everything that runs by itself
	cancel context.CancelFunc
	wait   sync.WaitGroup // of it
	old    sync.WaitGroup // subscriptions being given up
	look   chan struct{}  // have the scan look now
	lanes  chan struct{}  // see Config.Workers

	// mu protects the following. It is never held over a call.
	mu      sync.Mutex
	closed  bool
	started bool
	actions map[string]*entry
	coord   gtx.Coordinator
	unsub   func()
	ending  map[gtx.XID]chan struct{} // closed when the one who ends it is done
	agenda  agenda
	trouble map[gtx.XID]map[gtx.BranchID]*trouble
	told    map[string]bool // once
	stats   Stats
}

// suffix of the resource that the actions of a database are registered under.
const suffix = "-tcc"

// ResourceOf is what the actions of a database are registered under.
func ResourceOf(database gtx.ResourceID) gtx.ResourceID { return database + suffix }

// Database is the reverse of ResourceOf; false for another resource.
func Database(r gtx.ResourceID) (gtx.ResourceID, bool) {
	id, ok := strings.CutSuffix(string(r), suffix)
	return gtx.ResourceID(id), ok && id != ""
}

// Open makes db, which a driver of this module has opened, a resource for actions. It makes
// the table gtx_tcc and those of the undo log where they are missing; where the user may not,
// the error holds the exact DDL. Register the actions next, and Close before db.
func Open(ctx context.Context, db *sql.DB, cfg Config) (*Resource, error) {
	ctx = gtx.Detach(ctx)
	at, err := driver.DatabaseOf(db)
	if err != nil {
		return nil, fmt.Errorf("open database for actions: %w", err)
	}
	if cfg.Logger == nil {
		cfg.Logger = at.Logger()
	}
	cfg = cfg.withDefaults()
	id, err := at.Enter(ctx, cfg.Coordinator)
	if err != nil {
		return nil, fmt.Errorf("open database for actions: %w", err)
	}
	d := at.Dialect()
	if err := createTable(ctx, db, d); err != nil {
		return nil, fmt.Errorf("open database for actions: %w", err)
	}
	return newResource(cfg, ResourceOf(id), &table{db: db, d: d, id: id, now: cfg.now}), nil
}

func createTable(ctx context.Context, db *sql.DB, d undo.Dialect) error {
	return undo.CreateTables(ctx, db, d, []string{schemaOf[d.Name()] + "gtx_tcc"}, Schema(d))
}

// newResource makes the Resource of id, whose guards are g. cfg has its defaults.
func newResource(cfg Config, id gtx.ResourceID, g guards) *Resource {
	r := &Resource{
		cfg: cfg, id: id, guards: g, look: make(chan struct{}, 1), lanes: make(chan struct{}, cfg.Workers),
		actions: map[string]*entry{}, ending: map[gtx.XID]chan struct{}{},
		trouble: map[gtx.XID]map[gtx.BranchID]*trouble{}, told: map[string]bool{},
	}
	r.agenda.wake = make(chan struct{}, 1)
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// ID is what the actions are registered under at the coordinator.
func (r *Resource) ID() gtx.ResourceID { return r.id }

// add makes an action known, and starts phase two with the first.
func (r *Resource) add(e *entry) error {
	r.mu.Lock()
	switch {
	case r.closed:
		r.mu.Unlock()
		return ErrClosed
	case r.actions[e.name] != nil:
		r.mu.Unlock()
		return errors.New("an action of this name is registered already")
	}
	r.actions[e.name] = e
	first := !r.started
	r.started = true
	if first {
		r.wait.Go(r.scanLoop)
		r.wait.Go(r.agendaLoop)
	}
	r.mu.Unlock()
	r.coordinator()
	select {
	case r.look <- struct{}{}: // what has waited for it
	default:
	}
	return nil
}

// enter has the decisions of c served.
func (r *Resource) enter(c gtx.Coordinator) error {
	r.mu.Lock()
	closed := r.closed
	r.mu.Unlock()
	if closed {
		return ErrClosed
	}
	r.serve(c)
	return nil
}

// coordinator that the scan asks. It may be nil.
func (r *Resource) coordinator() gtx.Coordinator {
	r.mu.Lock()
	c := r.coord
	r.mu.Unlock()
	if c != nil {
		return c
	}
	if c = r.cfg.Coordinator; c == nil {
		c = gtx.Default()
	}
	if c != nil {
		r.serve(c)
	}
	return c
}

// serve subscribes to the decisions of c, once.
func (r *Resource) serve(c gtx.Coordinator) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || !r.started || same(r.coord, c) {
		return
	}
	unsub, err := c.Serve(r.id, r)
	if err != nil {
		// The scan finds what is not pushed.
		r.cfg.Logger.Warn("subscribe to decisions about actions", "resource", string(r.id), "err", err)
		return
	}
	if r.unsub != nil {
		r.old.Go(r.unsub) // waits for deliveries, which may need mu
	}
	r.coord, r.unsub = c, unsub
}

// same is == where that does not panic, else whether the types are the same.
func same(a, b gtx.Coordinator) bool {
	if t := reflect.TypeOf(a); t != reflect.TypeOf(b) || t == nil || !reflect.ValueOf(a).Comparable() && !reflect.ValueOf(b).Comparable() {
		return t == reflect.TypeOf(b)
	}
	return a == b
}

// Close ends phase two in this process and waits for it: the contexts of Confirm and Cancel
// that are running are cancelled. What is left is for other processes, or for the next start.
// It may be called twice.
func (r *Resource) Close() error {
	r.mu.Lock()
	r.closed = true
	unsub := r.unsub
	r.mu.Unlock()
	r.cancel()
	if unsub != nil {
		unsub()
	}
	r.old.Wait()
	r.wait.Wait()
	return nil
}

// sleep waits from half of d to one and a half; false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d/2 + rand.N(d))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
