// Package proxy stands between database/sql and a base driver: outside a global
// transaction it hands everything through, inside one it turns every local
// transaction into a branch. Statements that write are analysed, captured and
// run as one step; what cannot be captured is refused before it runs. Two more are
// asked for: writes outside that respect the locks of global transactions
// (Config.Guard), and SELECTs whose rows are decided (gtx.ReadCommitted).
//
// Only contexts decide what belongs to a global transaction. A local transaction begun with the context of a global
// transaction belongs to it with all its statements, whatever their contexts.
package proxy

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// tableTTL bounds how long a trigger or a cascade that somebody adds can go
// unseen. A stale image is caught later by the schema fingerprint.
const tableTTL = 10 * time.Second

// Config describes one database to its connections.
type Config struct {
	Dialect Dialect
	// Enter makes the database ready for branches of tx (tables exist, phase two
	// is served) and tells its identity. Called before each branch, and with nil
	// before each guarded write: it must be cheap when nothing is to do.
	Enter func(ctx context.Context, tx *gtx.Tx) (gtx.ResourceID, error)
	// Settle tells whether a branch whose COMMIT got no answer has committed
	// (rule T5).
	Settle func(ctx context.Context, xid gtx.XID, b gtx.BranchID) (bool, error)
	// Resolve ends what a decided transaction has left in this database, so that
	// its rows are free.
	Resolve func(ctx context.Context, r gtx.Resolution) error
	// Preparing is what mode XA needs; nil where the database cannot prepare.
	Preparing *Preparing
	// Skip, if not nil, tells that the base driver as the user configured it would
	// answer driver.ErrSkip to Exec or Query, so that database/sql prepares.
	Skip func(query string, args int) bool
	// Alone, if not nil, stands before Exec and Query of a text with a semicolon:
	// the program's connections take one statement in a text.
	Alone Alone
	// Guard makes statements outside global transactions respect their locks.
	Guard bool
	// Coordinator is asked for the end of a transaction that holds a row which a
	// guarded statement wants. Nil, or a nil answer: the row is looked at again.
	Coordinator func() gtx.Coordinator
	// Present tells whether the tables of this module are there, for a reader
	// outside global transactions. Nil: they are.
	Present func(ctx context.Context) (bool, error)
	// Look runs a query of this module on a connection of its own, so that it sees
	// what has committed by now. Needed where Reading.SeesNow is false.
	Look undo.Query
	// Closed, if not nil, is called when a connection has been closed, for one that
	// nobody else stands behind.
	Closed func() error
	// LockWait bounds the wait for a row that another global transaction holds.
	// Zero: 5 s.
	LockWait time.Duration
	// Logger, nil: slog.Default.
	Logger *slog.Logger
}

// Resource is one database, shared by all connections of a pool. Safe for
// concurrent use.
type Resource struct {
	Config
	text sqltext.Cache

	// mu protects the following.
	mu     sync.Mutex
	tables map[string]cachedTable
	ending map[gtx.XID]chan struct{} // being resolved; closed when it is done
	// unkeyed are the tables whose rows cannot be told apart, as far as it is known.
	unkeyed map[string]time.Time
	// shared are the tables that modes AT and XA both write, for a while.
	shared map[string]time.Time
}

type cachedTable struct {
	table *undo.Table
	until time.Time
}

// NewResource fills the defaults of cfg.
func NewResource(cfg Config) *Resource {
	if cfg.LockWait <= 0 {
		cfg.LockWait = 5 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &Resource{Config: cfg, tables: map[string]cachedTable{}, ending: map[gtx.XID]chan struct{}{}, unkeyed: map[string]time.Time{}, shared: map[string]time.Time{}}
}

// table reads the catalogue at most once per tableTTL and table.
func (r *Resource) table(ctx context.Context, q undo.Query, id string) (*undo.Table, error) {
	r.mu.Lock()
	e, ok := r.tables[id]
	r.mu.Unlock()
	if ok && time.Now().Before(e.until) {
		return e.table, nil
	}
	t, err := r.Dialect.Table(ctx, q, id)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.tables[id] = cachedTable{table: t, until: time.Now().Add(tableTTL)}
	r.mu.Unlock()
	return t, nil
}

// forgetTables drops what is known of tables, after DDL through this pool.
func (r *Resource) forgetTables() {
	r.mu.Lock()
	clear(r.tables)
	clear(r.unkeyed)
	r.mu.Unlock()
}

func (r *Resource) present(ctx context.Context) (bool, error) {
	if r.Present == nil {
		return true, nil
	}
	return r.Present(ctx)
}
