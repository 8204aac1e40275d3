package driver

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
	"github.com/globaltx/globaltx/xa"
)

// service is the RM of one database in this process: it knows the database's
// identity, serves decisions that the coordinator pushes and runs the scan for
// leftovers.
type service struct {
	db       *sql.DB
	dialect  undo.Dialect
	refuse   error
	set      settings
	resolver *undo.Resolver
	prepared *xa.Resolver // nil where the database cannot prepare

	stop context.CancelFunc // ends background
	done chan struct{}      // background has ended
	// first starts background after the program's first connection: a look before
	// it would compete with its set-up (journal_mode of SQLite is not waited for).
	first func()
	old   sync.WaitGroup // subscriptions being given up

	// mu protects the following. It is never held over a call to the database.
	mu     sync.Mutex
	closed bool
	id     gtx.ResourceID // "" until the tables are known to exist
	coord  gtx.Coordinator
	unsub  func()
	// entering serialises the first look at the database.
	entering chan struct{}
}

func newService(db *sql.DB, d undo.Dialect, refuse error, set settings) *service {
	// undo.Resolver ends four things at a time; the others are for its scan, and for
	// branches whose COMMIT got no answer.
	db.SetMaxOpenConns(6)
	db.SetMaxIdleConns(4)
	db.SetConnMaxIdleTime(time.Minute)
	ctx, cancel := context.WithCancel(context.Background())
	s := &service{db: db, dialect: d, refuse: refuse, set: set, stop: cancel, done: make(chan struct{}), entering: make(chan struct{}, 1), first: func() {}}
	if refuse != nil {
		close(s.done)
		return s
	}
	r, err := undo.NewResolver(undo.Config{
		DB:           db,
		Dialect:      d,
		Coordinator:  s.coordinator,
		ScanInterval: set.scanInterval,
		Logger:       set.logger,
	})
	if err != nil {
		s.refuse = err
		close(s.done)
		return s
	}
	s.resolver = r
	if p, ok := d.(preparing); ok {
		s.prepared, err = xa.NewResolver(xa.Config{
			DB: db, Dialect: p.XA(), Classify: d.Classify, Database: s.identity,
			Coordinator: s.coordinator, ScanInterval: set.scanInterval, Logger: set.logger,
		})
		if err != nil {
			s.refuse = err
			close(s.done)
			return s
		}
	}
	s.first = sync.OnceFunc(func() { go s.background(ctx) })
	return s
}

// preparing is a dialect whose databases can prepare.
type preparing interface{ XA() xa.Dialect }

// background finds out whether an earlier process left tables here, so that its
// leftovers are resolved even if this one never begins a global transaction. It
// creates nothing, and ends as soon as the tables are known.
//
// Without a coordinator nobody could say how the leftovers ended. So a program that
// has none has no connection here but its own.
func (s *service) background(ctx context.Context) {
	defer close(s.done)
	for pause, limit := 100*time.Millisecond, time.Second; ; pause = min(2*pause, limit) {
		if gtx.Default() != nil {
			// Without tables nothing was left; enter makes them when they are needed.
			if _, err := s.present(ctx); err == nil {
				return
			}
			limit = 30 * time.Second
		}
		t := time.NewTimer(pause + rand.N(pause))
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

func (s *service) identity() gtx.ResourceID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id
}

// found starts phase two for the database that has turned out to be id.
func (s *service) found(id gtx.ResourceID) {
	s.mu.Lock()
	first := s.id == "" && !s.closed
	if first {
		s.id = id
		// Under the lock, so that close cannot stop what is not started yet.
		s.resolver.Start()
		if s.prepared != nil {
			s.prepared.Start()
		}
	}
	s.mu.Unlock()
	if c := gtx.Default(); first && c != nil {
		s.serve(c)
	}
}

// enter makes the database ready for branches of tx, or for guarded writes when
// tx is nil (proxy.Config.Enter).
func (s *service) enter(ctx context.Context, tx *gtx.Tx) (gtx.ResourceID, error) {
	if tx == nil {
		return s.enterWith(ctx, nil)
	}
	return s.enterWith(ctx, tx.Coordinator())
}

func (s *service) enterWith(ctx context.Context, c gtx.Coordinator) (gtx.ResourceID, error) {
	if s.refuse != nil {
		return "", s.refuse
	}
	id := s.identity()
	if id == "" {
		select {
		case s.entering <- struct{}{}:
		case <-ctx.Done():
			return "", ctx.Err()
		}
		defer func() { <-s.entering }()
		if id = s.identity(); id == "" {
			var err error
			if id, err = s.resolver.Migrate(ctx); err != nil {
				return "", fmt.Errorf("prepare database for global transactions: %w", err)
			}
			s.found(id)
		}
	}
	if c != nil {
		s.serve(c)
	}
	return id, nil
}

// coordinator that the scan asks: the last one a transaction came from.
func (s *service) coordinator() gtx.Coordinator {
	s.mu.Lock()
	c, id := s.coord, s.id
	s.mu.Unlock()
	if c == nil && id != "" {
		if c = gtx.Default(); c != nil {
			s.serve(c)
		}
	}
	return c
}

// same tells whether two are one coordinator. Values of a type that Go cannot
// compare are taken for the same one.
func same(a, b gtx.Coordinator) bool { return sameValue(a, b) }

// sameValue is == where that does not panic, which is where one of the two can be
// compared, else whether the types are the same.
func sameValue(a, b any) bool {
	if t := reflect.TypeOf(a); t != reflect.TypeOf(b) || t == nil || !reflect.ValueOf(a).Comparable() && !reflect.ValueOf(b).Comparable() {
		return t == reflect.TypeOf(b)
	}
	return a == b
}

// serve subscribes to the decisions of c, once.
func (s *service) serve(c gtx.Coordinator) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.id == "" || same(s.coord, c) {
		return
	}
	unsub, err := s.subscribe(c)
	if err != nil {
		// The scan finds what is not pushed.
		s.set.logger.Warn("subscribe to decisions", "resource", string(s.id), "err", err)
		return
	}
	old := s.unsub
	s.coord, s.unsub = c, unsub
	if old != nil {
		s.old.Go(old) // waits for deliveries, which may need mu
	}
}

// subscribe serves both resources that a database is: its rows, and its prepared
// branches. Callers hold mu.
func (s *service) subscribe(c gtx.Coordinator) (stop func(), err error) {
	rows, err := c.Serve(s.id, s.resolver)
	if err != nil || s.prepared == nil {
		return rows, err
	}
	prepared, err := c.Serve(xa.ResourceOf(s.id), s.prepared)
	if err != nil {
		s.old.Go(rows) // waits for deliveries, which may need mu
		return nil, err
	}
	return func() { rows(); prepared() }, nil
}

// resolve ends what a decided transaction has left here.
func (s *service) resolve(ctx context.Context, r gtx.Resolution) error {
	return s.resolver.Resolve(ctx, r)
}

func (s *service) settle(ctx context.Context, xid gtx.XID, b gtx.BranchID) (bool, error) {
	return s.resolver.Settle(ctx, xid, b)
}

func (s *service) close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	unsub, started := s.unsub, s.id != ""
	s.mu.Unlock()
	s.stop()
	s.first() // so that done is closed
	<-s.done
	if unsub != nil {
		unsub()
	}
	s.old.Wait()
	if started {
		s.resolver.Stop()
	}
	if s.prepared != nil {
		s.prepared.Stop()
	}
	return s.db.Close()
}
