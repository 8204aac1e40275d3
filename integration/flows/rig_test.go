// Package flows tests natsbus/flow on real databases and a real NATS.
package flows

import (
	"context"
	crand "crypto/rand"
	"database/sql"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/driver"
	"github.com/globaltx/globaltx/internal/testserver/natstest"
	"github.com/globaltx/globaltx/internal/testserver/testdb"
	"github.com/globaltx/globaltx/natsbus/flow"
	"github.com/globaltx/globaltx/natsbus/outbox"
	"github.com/globaltx/globaltx/undo"
)

const kind = "order"

var errNo = errors.New("the card is declined")

// post is a NATS server.
type post struct {
	node *natstest.Node
	nc   *nats.Conn
	js   jetstream.JetStream
}

func newPost(t testing.TB) *post {
	t.Helper()
	p := &post{node: natstest.Start(t, 1).Nodes()[0]}
	var err error
	p.nc, err = nats.Connect(p.node.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.nc.Close)
	if p.js, err = jetstream.New(p.nc); err != nil {
		t.Fatal(err)
	}
	return p
}

// service is one with a database of its own, and a table of what it has done.
type service struct {
	t    testing.TB
	name string
	s    testdb.Server
	db   *sql.DB
	box  *outbox.Outbox
	cfg  flow.Config
	*flow.Service
}

func newService(t testing.TB, p *post, s testdb.Server, name string, cfg flow.Config) *service {
	t.Helper()
	return newServiceOn(t, p, s, testdb.Open(t, s, s.DSN(t)), name, cfg)
}

// newServiceOn is newService on a database that is open already.
func newServiceOn(t testing.TB, p *post, s testdb.Server, db *sql.DB, name string, cfg flow.Config) *service {
	t.Helper()
	// No two effects are one row, so that a second one is seen.
	testdb.MustExec(t, db, "CREATE TABLE effect (uid varchar(64) PRIMARY KEY, flow varchar(64) NOT NULL, what varchar(20) NOT NULL)")
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	box, err := outbox.Open(t.Context(), db, outbox.Config{Conn: p.nc, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := box.Close(); err != nil {
			t.Errorf("close outbox: %v", err)
		}
	})
	cfg.Name, cfg.Outbox, cfg.JetStream, cfg.Logger = name, box, p.js, quiet
	if cfg.Resend == 0 {
		cfg.Resend = time.Minute // longer than any test: what is sent again is a test's subject
	}
	sv := &service{t: t, name: name, s: s, db: db, box: box, cfg: cfg}
	sv.again()
	return sv
}

// again is what a new process of the service has.
func (sv *service) again() {
	sv.t.Helper()
	var err error
	if sv.Service, err = flow.Open(sv.t.Context(), sv.db, sv.cfg); err != nil {
		sv.t.Fatal(err)
	}
}

// effect writes that something was done.
func (sv *service) effect(ctx context.Context, tx *sql.Tx, id, what string) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO effect (uid, flow, what) VALUES ("+sv.s.Holder(1)+", "+sv.s.Holder(2)+", "+sv.s.Holder(3)+")", crand.Text(), id, what)
	return err
}

// handle sets a step that writes effects. before, where given, is asked before each.
func (sv *service) handle(before func(what string, m *flow.Message) error) {
	sv.t.Helper()
	do := func(what string) func(context.Context, *sql.Tx, *flow.Message) error {
		return func(ctx context.Context, tx *sql.Tx, m *flow.Message) error {
			if err := sv.effect(ctx, tx, m.Flow, what); err != nil {
				return err
			}
			if before != nil {
				return before(what, m)
			}
			return nil
		}
	}
	if err := sv.Handle(kind, flow.Step{Do: do("do"), Undo: do("undo")}); err != nil {
		sv.t.Fatal(err)
	}
}

// onEnd has the end of flows written as an effect.
func (sv *service) onEnd() {
	sv.t.Helper()
	err := sv.OnEnd(kind, func(ctx context.Context, tx *sql.Tx, f *flow.Flow) error {
		return sv.effect(ctx, tx, f.ID, f.State.String())
	})
	if err != nil {
		sv.t.Fatal(err)
	}
}

// run runs the service until the test ends, or stop is called.
func (sv *service) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- sv.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			sv.t.Errorf("run %s: %v", sv.name, err)
		}
	}
	sv.t.Cleanup(stop)
	return stop
}

// start starts a flow in a local transaction of its own.
func (sv *service) start(st flow.Start) (id string) {
	sv.t.Helper()
	st.Kind = kind
	tx, err := sv.db.BeginTx(sv.t.Context(), nil)
	if err != nil {
		sv.t.Fatal(err)
	}
	defer tx.Rollback()
	if id, err = sv.Start(sv.t.Context(), tx, st); err != nil {
		sv.t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		sv.t.Fatal(err)
	}
	return id
}

// effects gives what has been done in a flow, sorted, with commas between.
func (sv *service) effects(id string) string {
	sv.t.Helper()
	rows, err := sv.db.QueryContext(context.Background(), "SELECT what FROM effect WHERE flow = '"+id+"'")
	if err != nil {
		sv.t.Fatal(err)
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var what string
		if err := rows.Scan(&what); err != nil {
			sv.t.Fatal(err)
		}
		all = append(all, what)
	}
	if err := rows.Err(); err != nil {
		sv.t.Fatal(err)
	}
	slices.Sort(all)
	return strings.Join(all, ",")
}

// step is what the service's own row says.
func (sv *service) step(id string) string {
	sv.t.Helper()
	_, steps, err := flow.Find(context.Background(), sv.db, dialect(sv.t, sv.db), id)
	if errors.Is(err, flow.ErrNotFound) {
		return ""
	}
	if err != nil {
		sv.t.Fatal(err)
	}
	for _, r := range steps {
		if r.Consumer == sv.name {
			return r.State.String()
		}
	}
	return ""
}

// state describes a flow: "done", or "undoing, stock undone, billing failed: why".
func (sv *service) state(id string) string {
	sv.t.Helper()
	f, err := sv.Flow(context.Background(), id)
	if err != nil {
		sv.t.Fatal(err)
	}
	text := f.State.String()
	for _, p := range f.To {
		text += ", " + p.Name + " " + p.State.String()
		if p.Error != "" {
			text += ": " + p.Error
		}
	}
	return text
}

// becomes waits until a flow is in a state.
func (sv *service) becomes(id, want string) {
	sv.t.Helper()
	var last string
	for deadline := time.Now().Add(time.Minute); ; {
		if last = sv.state(id); last == want {
			return
		}
		if time.Now().After(deadline) {
			sv.t.Fatalf("flow %s: a minute has passed and it is %q, want %q", id, last, want)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// trio is a sender and two services, on three servers of which the first is s.
func trio(t testing.TB, s testdb.Server, cfg flow.Config) (p *post, a, b, c *service) {
	t.Helper()
	all := testdb.Servers()
	i := slices.IndexFunc(all, func(x testdb.Server) bool { return x.Name == s.Name })
	p = newPost(t)
	a = newService(t, p, s, "shop", cfg)
	b = newService(t, p, all[(i+1)%len(all)], "stock", cfg)
	c = newService(t, p, all[(i+2)%len(all)], "billing", cfg)
	return p, a, b, c
}

func onEach(t *testing.T, test func(t *testing.T, s testdb.Server)) {
	for _, s := range testdb.Servers() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			test(t, s)
		})
	}
}

func dialect(t testing.TB, db *sql.DB) undo.Dialect {
	t.Helper()
	about, err := driver.DatabaseOf(db)
	if err != nil {
		t.Fatal(err)
	}
	return about.Dialect()
}
