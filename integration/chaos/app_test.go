package chaos

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	gtxdriver "github.com/globaltx/globaltx/driver"
	"github.com/globaltx/globaltx/driver/mysql"
	"github.com/globaltx/globaltx/driver/pgsql"
	_ "github.com/globaltx/globaltx/driver/pgx"
	_ "github.com/globaltx/globaltx/driver/postgres"
	"github.com/globaltx/globaltx/driver/sqlite"
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/tcc"
	"github.com/globaltx/globaltx/internal/bank"
	"github.com/globaltx/globaltx/natsbus"
	"github.com/globaltx/globaltx/undo"
)

// database names one database as a process reaches it.
type database struct {
	Driver string // the base driver
	DSN    string
}

var dialects = map[string]undo.Dialect{
	"mysql": mysql.Dialect{}, "postgres": pgsql.Dialect{}, "pgx": pgsql.Dialect{}, "sqlite": sqlite.Dialect{},
}

// open opens it, for global transactions or with the base driver.
func (d database) open(global bool, conns int) (*sql.DB, error) {
	name := d.Driver
	if global {
		name = "gtx-" + name
	}
	db, err := sql.Open(name, d.DSN)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}

// accounts per bank: few enough for conflicts.
const accounts = 500

// newBank gives the bank of one route between two databases.
func newBank(from, to *sql.DB, fromDriver, toDriver, name string) (*bank.Bank, error) {
	return bank.New(bank.Config{From: newSide(from, fromDriver), To: newSide(to, toDriver), Name: name, Accounts: accounts})
}

// newSide gives one side of a bank. SQLite cannot prepare: in a transaction of mode XA its
// branches are of mode AT.
func newSide(db *sql.DB, driver string) bank.Side {
	s := bank.Side{DB: db, Dialect: dialects[driver]}
	if driver == "sqlite" {
		s.Context = func(ctx context.Context) context.Context { return gtx.InMode(ctx, gtx.AT) }
	}
	return s
}

// appConfig of the role "app".
type appConfig struct {
	Name      string // new with every start: transfers begin with it
	URL       string
	Databases map[string]database
	Routes    []route
	Workers   int // of each route
	Seed      uint64
	// Fail is the share of transfers that fail between the databases, Race of
	// those that somebody rolls back while they go on.
	Fail, Race float64
	// Mode of all transfers, a key of modes; empty: each has one at random.
	Mode string
}

// modes by the names that CHAOS_MODE has for them.
var modes = map[string]gtx.Mode{"at": gtx.AT, "xa": gtx.XA, "3pc": gtx.ThreePhase}

// route is a direction in which money moves.
type route struct{ Name, From, To string }

// txTimeout ends an undecided transaction. Short, so that stopped applications
// wake up behind it.
const txTimeout = 5 * time.Second

// runApp moves money until the first order, which may be anything, and serves
// phase two until its input ends.
func runApp(ctx context.Context, in *json.Decoder, out *reporter) error {
	var c appConfig
	if err := in.Decode(&c); err != nil {
		return fmt.Errorf("read config: %w", err)
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	bus, err := connectBus(ctx, c.URL)
	if err != nil {
		return err
	}
	r := &recorder{Bus: bus, out: out}
	gtx.SetDefault(r)
	dbs := map[string]*sql.DB{}
	for name, d := range c.Databases {
		if dbs[name], err = d.open(true, 3*c.Workers+4); err != nil {
			return err
		}
	}
	var actions []*tcc.Resource
	handles, calls := map[string]*tcc.Handle[held]{}, map[string]*tcc.Handle[int]{}
	for name, d := range c.Databases {
		res, h, err := openHolds(ctx, dbs[name], d.Driver, r)
		if err != nil {
			return err
		}
		bare, call, err := openCalls(ctx, dbs[name], name, d.Driver, r)
		if err != nil {
			return err
		}
		handles[name], calls[name] = h, call
		actions = append(actions, res, bare)
	}
	stop := make(chan struct{})
	var loads sync.WaitGroup
	for i, rt := range c.Routes {
		b, err := newBank(dbs[rt.From], dbs[rt.To], c.Databases[rt.From].Driver, c.Databases[rt.To].Driver, rt.Name)
		if err != nil {
			return err
		}
		seed := c.Seed + uint64(i)
		loads.Go(func() { c.load(ctx, r, b, rt, seed, c.modes(rt, dbs, seed), stop) })
		if c.Mode != "3pc" { // which has no actions
			loads.Go(func() {
				c.holdLoad(ctx, r, b, rt, [2]*tcc.Handle[held]{handles[rt.From], handles[rt.To]}, calls[rt.From], seed, stop)
			})
		}
	}
	out.tell(event{Kind: kindReady})
	var order json.RawMessage
	if err := in.Decode(&order); err != nil {
		return err
	}
	close(stop)
	loads.Wait()
	out.tell(event{Kind: kindQuiet})
	if err := in.Decode(&order); !errors.Is(err, io.EOF) {
		return err
	}
	for _, res := range actions {
		_ = res.Close() // never fails
	}
	for _, db := range dbs {
		db.Close()
	}
	return bus.Close()
}

// connectBus tries until it works: the system may be in trouble just now.
func connectBus(ctx context.Context, url string) (*natsbus.Bus, error) {
	for {
		bus, err := natsbus.Connect(ctx, natsbus.Config{URL: url})
		if err == nil {
			return bus, nil
		}
		slog.Warn("connect", "err", err)
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// modes gives the options of the n-th transfer of a route.
func (c *appConfig) modes(rt route, dbs map[string]*sql.DB, seed uint64) func(n int64) []gtx.Option {
	choice := []gtx.Mode{gtx.AT, gtx.XA, gtx.ThreePhase}
	if c.Mode != "" {
		choice = []gtx.Mode{modes[c.Mode]}
	}
	if c.Databases[rt.From].Driver == "sqlite" || c.Databases[rt.To].Driver == "sqlite" {
		choice = slices.DeleteFunc(choice, func(m gtx.Mode) bool { return m == gtx.ThreePhase })
	}
	if len(choice) == 0 {
		choice = []gtx.Mode{gtx.XA}
	}
	return func(n int64) []gtx.Option {
		m := one(rand.New(rand.NewPCG(seed, uint64(n)+1<<32)), choice)
		opts := []gtx.Option{gtx.WithMode(m)}
		if m == gtx.ThreePhase {
			opts = append(opts, gtx.WithResources(gtxdriver.Participant(dbs[rt.From]), gtxdriver.Participant(dbs[rt.To])))
		}
		return opts
	}
}

// load runs the transfers of one route.
func (c *appConfig) load(ctx context.Context, r *recorder, b *bank.Bank, rt route, seed uint64, optionsOf func(int64) []gtx.Option, stop chan struct{}) {
	workers := c.Workers
	if c.Mode != "3pc" {
		workers = max(workers-1, 1) // holdLoad is one of them
	}
	var mu sync.Mutex // protects random, last
	random := rand.New(rand.NewPCG(seed, 1))
	last := map[string]gtx.XID{} // of the transfers under way
	var tally bank.Tally
	l := bank.Load{
		Bank: b, Coordinator: r, Transfers: -1, Workers: workers, Fail: c.Fail, Seed: seed,
		Prefix:  c.Name + "." + rt.Name + ".",
		Options: []gtx.Option{gtx.WithTimeout(txTimeout), gtx.WithRetries(8)}, OptionsOf: optionsOf,
		Between: func(xid gtx.XID, t bank.Transfer) error {
			r.out.tell(event{Kind: kindTry, ID: t.ID, XID: xid.String()})
			mu.Lock()
			defer mu.Unlock()
			last[t.ID] = xid
			if random.Float64() < c.Race {
				time.AfterFunc(time.Duration(random.Int64N(int64(5*time.Millisecond))), func() {
					_, _ = r.Rollback(ctx, xid) // whatever it answers is in the history
				})
			}
			return nil
		},
		Ended: func(t bank.Transfer, err error) {
			mu.Lock()
			xid := last[t.ID]
			delete(last, t.ID)
			mu.Unlock()
			r.ended(t.ID, xid, err, stop)
		},
	}
	l.Run(ctx, stop, &tally)
}

// ended tells what the application was told of a transfer, xid its last try, and waits a
// little where somebody is away: nobody shall spin.
func (r *recorder) ended(id string, xid gtx.XID, err error, stop chan struct{}) {
	e := event{Kind: kindTold, ID: id, Told: gtx.Committed.String()}
	if !xid.IsZero() {
		e.XID = xid.String()
	}
	var unknown *gtx.UnknownError
	switch {
	case errors.As(err, &unknown):
		e.Told, e.XID, e.Text = "unknown", unknown.XID.String(), err.Error()
	case err != nil:
		e.Told, e.Text = gtx.Aborted.String(), err.Error()
	}
	r.out.tell(e)
	if err != nil && !errors.Is(err, bank.ErrRefused) {
		select {
		case <-stop:
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// recorder writes every question about a fate, and its answer, to the history.
type recorder struct {
	*natsbus.Bus
	out  *reporter
	last atomic.Int64
}

// call records op around ask.
func (r *recorder) call(op string, xid gtx.XID, ask func() (gtx.Status, error)) (gtx.Status, error) {
	n := r.last.Add(1)
	r.out.tell(event{Kind: kindCall, N: n, Op: op, XID: xid.String()})
	st, err := ask()
	e := event{Kind: kindBack, N: n, Told: st.String()}
	if err != nil {
		e.Told, e.Text = "error", err.Error()
	}
	r.out.tell(e)
	return st, err
}

func (r *recorder) Commit(ctx context.Context, xid gtx.XID, confirmed, dead []gtx.BranchRef) (gtx.Status, error) {
	return r.call("commit", xid, func() (gtx.Status, error) { return r.Bus.Commit(ctx, xid, confirmed, dead) })
}

func (r *recorder) Rollback(ctx context.Context, xid gtx.XID) (gtx.Status, error) {
	return r.call("rollback", xid, func() (gtx.Status, error) { return r.Bus.Rollback(ctx, xid) })
}

func (r *recorder) Outcome(ctx context.Context, xid gtx.XID) (gtx.Status, error) {
	return r.call("outcome", xid, func() (gtx.Status, error) { return r.Bus.Outcome(ctx, xid) })
}

func (r *recorder) Await(ctx context.Context, waiter, holder gtx.XID) (gtx.Status, error) {
	return r.call("await", holder, func() (gtx.Status, error) { return r.Bus.Await(ctx, waiter, holder) })
}
