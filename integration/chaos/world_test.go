package chaos

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	mysqldriver "github.com/go-sql-driver/mysql"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/internal/bank"
	"github.com/globaltx/globaltx/internal/testserver"
	"github.com/globaltx/globaltx/natsbus"
)

// slot is a place in the system for one process after another. Its links stay.
type slot struct {
	name  string
	role  string
	proc  *process
	times int              // processes started here
	nats  []*link          // to each NATS server
	dbs   map[string]*link // to each database; of applications
}

// store is one database.
type store struct {
	name   string
	driver string
	dsn    string // without a link
	addr   string // empty: a file
	server *testserver.Server
	admin  *sql.DB // with the base driver, past all links
}

// world is the whole system.
type world struct {
	t      *testing.T
	dir    string
	hist   *history
	seed   uint64
	size   size
	nats   []*slot
	config []natsConfig
	routes [3][3]*link // between the NATS servers: from, to
	coords []*slot
	apps   []*slot
	stores []*store
	paths  []route // of money
	banks  map[string]*bank.Bank
	sides  map[string]bank.Side // from side of each bank
	js     jetstream.JetStream  // past all links
	log    *witness
	bus    *natsbus.Bus // past all links
}

// size of a world.
type size struct {
	nats, coordinators int // NATS servers: one, or three that are a cluster
	apps, workers      int
	servers            []string          // of internal/testserver
	files              int               // SQLite databases
	trim               int               // bytes that the log may have, more or less
	tombstone          time.Duration     // how long a finished commit is known
	mode               string            // of all transfers, a key of modes; empty: at random
	coordinator        coordinatorConfig // what the others here do not say
}

// newWorld starts everything and returns when every application has committed
// a transfer.
func newWorld(ctx context.Context, t *testing.T, dir string, seed uint64, s size) *world {
	t.Helper()
	h, err := newHistory(filepath.Join(dir, "history.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dir: dir, hist: h, seed: seed, size: s, banks: map[string]*bank.Bank{}, sides: map[string]bank.Side{}}
	t.Cleanup(w.close)
	for _, step := range []func(context.Context) error{
		w.startNATS, w.startStores, w.startClients, w.createBanks, w.startCoordinators, w.startApps,
	} {
		if err := step(ctx); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *world) startNATS(_ context.Context) error {
	ports, err := freePorts(2 * w.size.nats)
	if err != nil {
		return err
	}
	for i := range w.size.nats {
		w.config = append(w.config, natsConfig{Name: fmt.Sprintf("nats%d", i), Dir: w.dir, Client: ports[2*i], Cluster: ports[2*i+1]})
	}
	for from := range w.config {
		for to := range w.config {
			if from == to {
				continue
			}
			k, err := newLink(fmt.Sprintf("nats%d to nats%d", from, to), fmt.Sprintf("127.0.0.1:%d", w.config[to].Cluster))
			if err != nil {
				return err
			}
			w.routes[from][to] = k
			w.config[from].Routes = append(w.config[from].Routes, k.addr())
		}
	}
	for i := range w.config {
		w.nats = append(w.nats, &slot{name: w.config[i].Name, role: "nats"})
		if err := w.start(w.nats[i]); err != nil {
			return err
		}
	}
	return nil
}

// freePorts gives ports that nobody listens on now. They lie below 32768, from where on
// Linux gives them to outgoing connections and to listeners that take any port: there
// a server that was killed might not get its own back, nor a first one.
func freePorts(n int) (ports []int, err error) {
	for tries := 0; len(ports) < n; tries++ {
		port := 10_000 + rand.IntN(22_000)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if errors.Is(err, syscall.EADDRINUSE) && tries < 100 {
			continue
		} else if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, port)
	}
	return ports, nil
}

func (w *world) startStores(_ context.Context) error {
	for i, kind := range w.size.servers {
		srv := testserver.Private(w.t, kind)
		st := &store{name: kind, driver: "postgres", dsn: srv.DSN(), server: srv}
		if slices.Contains(w.size.servers[:i], kind) {
			st.name = fmt.Sprintf("%s.%d", kind, i+1)
		}
		if kind == testserver.NameMySQL || kind == testserver.NameMariaDB {
			cfg, err := mysqldriver.ParseDSN(st.dsn)
			if err != nil {
				return errors.New("read DSN of MySQL")
			}
			st.driver, st.addr = "mysql", cfg.Addr
		} else {
			u, err := url.Parse(st.dsn)
			if err != nil {
				return errors.New("read DSN of Postgres")
			}
			st.addr = u.Host
		}
		w.stores = append(w.stores, st)
	}
	for i := range w.size.files {
		name := fmt.Sprintf("sqlite%d", i)
		w.stores = append(w.stores, &store{
			name: name, driver: "sqlite",
			dsn: "file:" + filepath.Join(w.dir, name+".db") + "?_pragma=busy_timeout(10000)&_pragma=journal_mode(wal)",
		})
	}
	// Money moves in a circle.
	for i, from := range w.stores {
		to := w.stores[(i+1)%len(w.stores)]
		w.paths = append(w.paths, route{Name: fmt.Sprintf("r%d", i), From: from.name, To: to.name})
	}
	return nil
}

// through gives the DSN of the store over a link, as an application uses it.
func (s *store) through(k *link) (database, error) {
	const scan = "gtx_scan_interval=1s"
	switch s.driver {
	case "mysql":
		cfg, err := mysqldriver.ParseDSN(s.dsn)
		if err != nil {
			return database{}, errors.New("read DSN of MySQL")
		}
		cfg.Addr = k.addr()
		return database{s.driver, cfg.FormatDSN() + "?" + scan}, nil
	case "postgres":
		u, err := url.Parse(s.dsn)
		if err != nil {
			return database{}, errors.New("read DSN of Postgres")
		}
		u.Host = k.addr()
		return database{s.driver, u.String() + "&" + scan}, nil
	}
	return database{s.driver, s.dsn + "&" + scan}, nil
}

// startClients connects the world itself.
func (w *world) startClients(ctx context.Context) error {
	var urls []string
	for i, n := range w.nats {
		select {
		case <-n.proc.ready:
		case <-n.proc.done:
			return fmt.Errorf("%s ended: see %s", n.name, w.dir)
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", n.name, ctx.Err())
		}
		urls = append(urls, fmt.Sprintf("nats://127.0.0.1:%d", w.config[i].Client))
	}
	nc, err := nats.Connect(strings.Join(urls, ","), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond),
		nats.PingInterval(time.Second), nats.MaxPingsOutstanding(2))
	if err != nil {
		return err
	}
	w.t.Cleanup(nc.Close)
	if w.js, err = jetstream.New(nc); err != nil {
		return err
	}
	return w.retry(ctx, "wait for JetStream", func(ctx context.Context) error {
		_, err := w.js.AccountInfo(ctx)
		return err
	})
}

func (w *world) createBanks(ctx context.Context) error {
	open := map[string]*sql.DB{}
	drivers := map[string]string{}
	for _, st := range w.stores {
		db, err := database{st.driver, st.dsn}.open(false, 4)
		if err != nil {
			return err
		}
		w.t.Cleanup(func() { db.Close() })
		db.SetMaxIdleConns(0) // a session that was killed meanwhile is nobody's trouble
		open[st.name], drivers[st.name], st.admin = db, st.driver, db
		if err := errors.Join(createHolds(ctx, db), createCalls(ctx, db)); err != nil {
			return err
		}
	}
	for _, p := range w.paths {
		b, err := newBank(open[p.From], open[p.To], drivers[p.From], drivers[p.To], p.Name)
		if err != nil {
			return err
		}
		if err := b.Create(ctx); err != nil {
			return err
		}
		w.banks[p.Name], w.sides[p.Name] = b, newSide(open[p.From], drivers[p.From])
	}
	return nil
}

func (w *world) startCoordinators(ctx context.Context) error {
	for i := range w.size.coordinators {
		c := &slot{name: fmt.Sprintf("coordinator%d", i), role: "coordinator"}
		w.coords = append(w.coords, c)
		if err := errors.Join(w.linkNATS(c), w.start(c)); err != nil {
			return err
		}
	}
	if err := w.hist.await(ctx, "a leading coordinator", func() bool { return w.hist.leader != "" }); err != nil {
		return err
	}
	var err error
	if w.log, err = watchLog(ctx, w.js); err != nil {
		return err
	}
	var urls []string
	for _, c := range w.config {
		urls = append(urls, fmt.Sprintf("nats://127.0.0.1:%d", c.Client))
	}
	w.bus, err = connectBus(ctx, strings.Join(urls, ","))
	if err == nil {
		w.t.Cleanup(func() { w.bus.Close() })
	}
	return err
}

func (w *world) startApps(ctx context.Context) error {
	for i := range w.size.apps {
		a := &slot{name: fmt.Sprintf("app%d", i), role: "app", dbs: map[string]*link{}}
		w.apps = append(w.apps, a)
		for _, st := range w.stores {
			if st.addr == "" {
				continue
			}
			k, err := newLink(a.name+" to "+st.name, st.addr)
			if err != nil {
				return err
			}
			a.dbs[st.name] = k
		}
		if err := errors.Join(w.linkNATS(a), w.start(a)); err != nil {
			return err
		}
	}
	return w.recovered(ctx, monotonic())
}

func (w *world) linkNATS(s *slot) error {
	for i := range w.nats {
		k, err := newLink(fmt.Sprintf("%s to nats%d", s.name, i), fmt.Sprintf("127.0.0.1:%d", w.config[i].Client))
		if err != nil {
			return err
		}
		s.nats = append(s.nats, k)
	}
	return nil
}

// start puts a new process into the slot.
func (w *world) start(s *slot) error {
	s.times++
	name := fmt.Sprintf("%s.%d", s.name, s.times)
	var urls []string
	for _, k := range s.nats {
		urls = append(urls, "nats://"+k.addr())
	}
	var config any
	switch s.role {
	case "nats":
		config = w.config[slices.Index(w.nats, s)]
	case "coordinator":
		c := w.size.coordinator
		c.Name, c.URL, c.Replicas, c.TrimBytes, c.Tombstone = name, strings.Join(urls, ","), len(w.nats), w.size.trim, w.size.tombstone
		config = c
	case "app":
		c := appConfig{
			Name: name, URL: strings.Join(urls, ","), Databases: map[string]database{}, Routes: w.paths,
			Workers: w.size.workers, Seed: w.seed + uint64(s.times)<<16 + uint64(slices.Index(w.apps, s))<<8, Fail: 0.05, Race: 0.05, Mode: w.size.mode,
		}
		for _, st := range w.stores {
			d, err := st.through(s.dbs[st.name])
			if err != nil {
				return err
			}
			if d.Driver == "postgres" && slices.Index(w.apps, s)%2 == 1 {
				d.Driver = "pgx" // two applications share a database through different drivers
			}
			c.Databases[st.name] = d
		}
		config = c
	}
	var err error
	s.proc, err = spawn(w.dir, name, s.role, config, w.hist.add)
	return err
}

// restart starts what has been killed and waits for its port where others
// know it.
func (w *world) restart(s *slot) error {
	if !s.proc.ended() {
		return nil
	}
	return w.start(s)
}

// links gives every link of the world.
func (w *world) links() (all []*link) {
	for _, from := range w.routes {
		for _, k := range from {
			if k != nil {
				all = append(all, k)
			}
		}
	}
	for _, s := range slices.Concat(w.coords, w.apps) {
		all = append(all, s.nats...)
		for _, k := range s.dbs {
			all = append(all, k)
		}
	}
	return all
}

// recovered waits until every application has committed after the time since.
func (w *world) recovered(ctx context.Context, since int64) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	late := ""
	err := w.hist.await(ctx, "commits", func() bool {
		late = ""
		for _, a := range w.apps {
			if w.hist.by[a.proc.name] <= since {
				late += " " + a.proc.name
			}
		}
		return late == ""
	})
	if err != nil {
		return fmt.Errorf("nothing committed by%s: %w", late, err)
	}
	return nil
}

// close ends everything that still runs. A failed test keeps what it left.
func (w *world) close() {
	if w.log != nil {
		w.log.stop()
		w.log.done.Wait()
	}
	for _, s := range slices.Concat(w.apps, w.coords, w.nats) {
		if s.proc != nil && !s.proc.ended() {
			s.proc.signal(syscall.SIGCONT)
			s.proc.kill()
		}
	}
	for _, k := range w.links() {
		k.close()
	}
	if err := w.hist.close(); err != nil {
		w.t.Error(err)
	}
	if w.t.Failed() {
		w.t.Logf("history and logs are kept in %s", w.dir)
	} else if os.Getenv("CHAOS_DIR") == "" {
		_ = os.RemoveAll(w.dir) // temporary
	}
}
