package chaos

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// fault is one kind of trouble. inject makes it and gives what ends it, both
// within seconds; what happens to those who are not to blame is measured.
type fault struct {
	kind   string
	inject func(ctx context.Context, w *world, r *rand.Rand) (what string, heal func(context.Context) error, err error)
	needs  func(w *world) bool // nil: always possible
	// least is the shortest that it lasts: what must happen meanwhile takes time.
	least time.Duration
}

// takeover is time for a standby to see that the leader is silent, and to lead.
const takeover = 4 * time.Second

type healer = func(context.Context) error

// faults are all kinds.
func faults() []fault {
	return []fault{
		{kind: "coordinator: leader killed", inject: killLeader},
		{kind: "coordinator: leader handed over (SIGTERM)", inject: endLeader},
		{kind: "coordinator: leader stopped", inject: stopLeader, least: txTimeout},
		{kind: "coordinator: leader cut from NATS", inject: cutLeader, least: takeover},
		{kind: "coordinator: leader not heard", inject: holdLeader(toServer), least: takeover},
		{kind: "coordinator: leader hears nothing", inject: holdLeader(toClient), least: takeover},
		{kind: "coordinator: standby killed", inject: killStandby, needs: func(w *world) bool { return len(w.coords) > 1 }},
		{kind: "coordinator: all killed", inject: killCoordinators},
		{kind: "coordinator: clocks apart, leader killed", inject: moveClocks},
		{kind: "NATS: log leader killed", inject: killLogLeader, needs: hasCluster},
		{kind: "NATS: log leader stopped", inject: stopLogLeader, least: txTimeout, needs: hasCluster},
		{kind: "NATS: log leader apart from the others", inject: partLogLeader, needs: hasCluster},
		{kind: "NATS: follower killed", inject: killFollower, needs: hasCluster},
		{kind: "NATS: all killed", inject: killNATS},
		{kind: "NATS: routes slow", inject: slowRoutes, needs: hasCluster},
		{kind: "log full", inject: fillLog},
		{kind: "log disk fails", inject: breakDisk, needs: hasCluster},
		{kind: "application: killed", inject: killApp},
		{kind: "application: stopped", inject: stopApp, least: txTimeout},
		{kind: "application: cut from NATS", inject: cutApp},
		{kind: "application: NATS silent", inject: holdApp},
		{kind: "application: cut from a database", inject: cutStore, needs: hasServers},
		{kind: "application: database does not answer", inject: holdStore(toClient), needs: hasServers},
		{kind: "application: database not reached", inject: holdStore(toServer), needs: hasServers},
		{kind: "application: slow links", inject: slowApp},
		{kind: "database: sessions killed", inject: killSessions, needs: hasServers},
		{kind: "database: killed", inject: killStore, needs: hasServers},
		{kind: "database: shut down", inject: endStore, needs: hasServers},
	}
}

// part is the part of the system that the fault is in.
func (f fault) part() string {
	part, _, _ := strings.Cut(f.kind, ":")
	if strings.HasPrefix(part, "log ") {
		return "NATS" // which keeps the log
	}
	return part
}

const twoAtOnce = "two of these at once"

// both makes two faults and ends them in the same order.
func both(a, b fault) fault {
	return fault{
		kind: twoAtOnce, least: max(a.least, b.least),
		inject: func(ctx context.Context, w *world, r *rand.Rand) (string, healer, error) {
			what, heal, err := a.inject(ctx, w, r)
			if err != nil {
				return "", nil, err
			}
			other, healOther, err := b.inject(ctx, w, r)
			if err != nil {
				return "", nil, err
			}
			return a.kind + ": " + what + "; " + b.kind + ": " + other, func(ctx context.Context) error {
				return errors.Join(heal(ctx), healOther(ctx))
			}, nil
		},
	}
}

func hasServers(w *world) bool {
	for _, s := range w.stores {
		if s.server != nil {
			return true
		}
	}
	return false
}

func hasCluster(w *world) bool { return len(w.nats) > 1 }

func one[T any](r *rand.Rand, of []T) T { return of[r.IntN(len(of))] }

// leader gives the slot of the coordinator that led last.
func (w *world) leader() *slot {
	name := w.hist.leads()
	for _, c := range w.coords {
		if c.proc.name == name {
			return c
		}
	}
	return w.coords[0] // it has been killed, and nobody leads yet
}

func (w *world) kill(s *slot) (string, healer, error) {
	s.proc.kill()
	return s.proc.name, func(context.Context) error { return w.restart(s) }, nil
}

func (w *world) stop(s *slot) (string, healer, error) {
	s.proc.signal(syscall.SIGSTOP)
	return s.proc.name, func(context.Context) error { s.proc.signal(syscall.SIGCONT); return nil }, nil
}

// healing heals links; half of the held ones lose what they held.
func healing(r *rand.Rand, links ...*link) healer {
	drop := r.IntN(2) == 0
	return func(context.Context) error {
		for _, k := range links {
			k.heal(drop)
		}
		return nil
	}
}

func killLeader(_ context.Context, w *world, _ *rand.Rand) (string, healer, error) {
	return w.kill(w.leader())
}

func endLeader(_ context.Context, w *world, _ *rand.Rand) (string, healer, error) {
	s := w.leader()
	s.proc.meant.Store(true)
	s.proc.signal(syscall.SIGTERM)
	return s.proc.name, func(ctx context.Context) error {
		select {
		case <-s.proc.done:
			return w.restart(s)
		case <-ctx.Done():
			return fmt.Errorf("wait for %s to end after SIGTERM: %w", s.proc.name, ctx.Err())
		}
	}, nil
}

func stopLeader(_ context.Context, w *world, _ *rand.Rand) (string, healer, error) {
	return w.stop(w.leader())
}

func cutLeader(_ context.Context, w *world, r *rand.Rand) (string, healer, error) {
	s := w.leader()
	for _, k := range s.nats {
		k.cut()
	}
	return s.proc.name, healing(r, s.nats...), nil
}

func holdLeader(d direction) func(context.Context, *world, *rand.Rand) (string, healer, error) {
	return func(_ context.Context, w *world, r *rand.Rand) (string, healer, error) {
		s := w.leader()
		for _, k := range s.nats {
			k.hold(d)
		}
		return s.proc.name, healing(r, s.nats...), nil
	}
}

func killStandby(_ context.Context, w *world, r *rand.Rand) (string, healer, error) {
	leader := w.leader()
	for {
		if s := one(r, w.coords); s != leader {
			return w.kill(s)
		}
	}
}

func killCoordinators(_ context.Context, w *world, _ *rand.Rand) (string, healer, error) {
	for _, s := range w.coords {
		s.proc.kill()
	}
	return "all coordinators", func(context.Context) error {
		var errs []error
		for _, s := range w.coords {
			errs = append(errs, w.restart(s))
		}
		return errors.Join(errs...)
	}, nil
}

// moveClocks sets every coordinator's clock off by up to an hour, differently,
// and kills the leader, for a clock is read when a term begins.
func moveClocks(_ context.Context, w *world, r *rand.Rand) (string, healer, error) {
	what := ""
	for _, s := range w.coords {
		off := time.Duration(r.Int64N(int64(2*time.Hour))) - time.Hour
		if err := s.proc.order(coordinatorOrder{Clock: off}); err != nil {
			return "", nil, fmt.Errorf("set clock of %s: %w", s.proc.name, err)
		}
		what += fmt.Sprintf("%s %v, ", s.proc.name, off.Round(time.Second))
	}
	killed, heal, err := w.kill(w.leader())
	return what + "killed " + killed, heal, err
}

// logLeader gives the NATS server that leads the stream, by its index, when
// there is one.
func (w *world) logLeader(ctx context.Context) (i int, err error) {
	err = w.retry(ctx, "find leader of the log", func(ctx context.Context) error {
		i = -1
		stream, err := w.js.Stream(ctx, "GTX_LOG")
		if err != nil {
			return err
		}
		if c := stream.CachedInfo().Cluster; c != nil {
			i = slices.IndexFunc(w.config, func(n natsConfig) bool { return n.Name == c.Leader })
		}
		if i < 0 {
			return errors.New("there is none")
		}
		return nil
	})
	return i, err
}

func killLogLeader(ctx context.Context, w *world, _ *rand.Rand) (string, healer, error) {
	i, err := w.logLeader(ctx)
	if err != nil {
		return "", nil, err
	}
	return w.kill(w.nats[i])
}

func stopLogLeader(ctx context.Context, w *world, _ *rand.Rand) (string, healer, error) {
	i, err := w.logLeader(ctx)
	if err != nil {
		return "", nil, err
	}
	return w.stop(w.nats[i])
}

func killFollower(ctx context.Context, w *world, r *rand.Rand) (string, healer, error) {
	i, err := w.logLeader(ctx)
	if err != nil {
		return "", nil, err
	}
	return w.kill(w.nats[(i+1+r.IntN(len(w.nats)-1))%len(w.nats)])
}

// partLogLeader leaves the leader of the log its clients and takes the others.
func partLogLeader(ctx context.Context, w *world, r *rand.Rand) (string, healer, error) {
	i, err := w.logLeader(ctx)
	if err != nil {
		return "", nil, err
	}
	silent := r.IntN(2) == 0
	var links []*link
	for j := range w.nats {
		if j == i {
			continue
		}
		for _, k := range []*link{w.routes[i][j], w.routes[j][i]} {
			if silent {
				k.hold(toServer, toClient)
			} else {
				k.cut()
			}
			links = append(links, k)
		}
	}
	return fmt.Sprintf("%s, silently: %t", w.nats[i].proc.name, silent), healing(r, links...), nil
}

func killNATS(_ context.Context, w *world, _ *rand.Rand) (string, healer, error) {
	for _, s := range w.nats {
		s.proc.kill()
	}
	return "all servers", func(context.Context) error {
		var errs []error
		for _, s := range w.nats {
			errs = append(errs, w.restart(s))
		}
		return errors.Join(errs...)
	}, nil
}

func slowRoutes(_ context.Context, w *world, r *rand.Rand) (string, healer, error) {
	var links []*link
	for _, from := range w.routes {
		for _, k := range from {
			if k != nil {
				k.slow(30 * time.Millisecond)
				links = append(links, k)
			}
		}
	}
	return "30 ms", healing(r, links...), nil
}

// fillLog lets the log take nothing more.
func fillLog(ctx context.Context, w *world, _ *rand.Rand) (string, healer, error) {
	var full jetstream.StreamConfig
	var room int64
	if err := w.retry(ctx, "fill the log", func(ctx context.Context) error {
		stream, err := w.js.Stream(ctx, "GTX_LOG")
		if err != nil {
			return err
		}
		if full = stream.CachedInfo().Config; room == 0 {
			room = full.MaxBytes // an update that got no answer may have worked
		}
		full.MaxBytes = int64(max(stream.CachedInfo().State.Bytes, 1))
		_, err = w.js.UpdateStream(ctx, full)
		return err
	}); err != nil {
		return "", nil, err
	}
	what := fmt.Sprintf("%d bytes", full.MaxBytes)
	full.MaxBytes = room
	return what, func(ctx context.Context) error {
		return w.retry(ctx, "make the log larger", func(ctx context.Context) error {
			_, err := w.js.UpdateStream(ctx, full)
			return err
		})
	}, nil
}

// breakDisk lets every write of the log's leader fail. It is killed and started
// again when its disk is whole.
func breakDisk(ctx context.Context, w *world, _ *rand.Rand) (string, healer, error) {
	i, err := w.logLeader(ctx)
	if err != nil {
		return "", nil, err
	}
	s := w.nats[i]
	if err := s.proc.limitFiles(512); err != nil {
		return "", nil, err
	}
	return s.proc.name, func(context.Context) error {
		if s.proc.ended() {
			return errors.New("the server ended by itself")
		}
		s.proc.kill()
		return w.restart(s)
	}, nil
}

func killApp(_ context.Context, w *world, r *rand.Rand) (string, healer, error) {
	return w.kill(one(r, w.apps))
}

func stopApp(_ context.Context, w *world, r *rand.Rand) (string, healer, error) {
	return w.stop(one(r, w.apps))
}

func cutApp(_ context.Context, w *world, r *rand.Rand) (string, healer, error) {
	s := one(r, w.apps)
	for _, k := range s.nats {
		k.cut()
	}
	return s.proc.name, healing(r, s.nats...), nil
}

func holdApp(_ context.Context, w *world, r *rand.Rand) (string, healer, error) {
	s := one(r, w.apps)
	d := [][]direction{{toServer}, {toClient}, {toServer, toClient}}[r.IntN(3)]
	for _, k := range s.nats {
		k.hold(d...)
	}
	return fmt.Sprintf("%s, directions %v", s.proc.name, d), healing(r, s.nats...), nil
}

// pickStore gives a database with a server, and an application's link to it.
func (w *world) pickStore(r *rand.Rand) (*store, *link) {
	for {
		if s := one(r, w.stores); s.server != nil {
			return s, one(r, w.apps).dbs[s.name]
		}
	}
}

func cutStore(_ context.Context, w *world, r *rand.Rand) (string, healer, error) {
	_, k := w.pickStore(r)
	k.cut()
	return k.name, healing(r, k), nil
}

func holdStore(d direction) func(context.Context, *world, *rand.Rand) (string, healer, error) {
	return func(_ context.Context, w *world, r *rand.Rand) (string, healer, error) {
		_, k := w.pickStore(r)
		k.hold(d)
		return k.name, healing(r, k), nil
	}
}

func slowApp(_ context.Context, w *world, r *rand.Rand) (string, healer, error) {
	s := one(r, w.apps)
	links := append([]*link{}, s.nats...)
	for _, k := range s.dbs {
		links = append(links, k)
	}
	for _, k := range links {
		k.slow(20 * time.Millisecond)
	}
	return s.proc.name + ", 20 ms", healing(r, links...), nil
}

// killSessions ends one session of the applications after the other, at whatever they are.
func killSessions(ctx context.Context, w *world, r *rand.Rand) (string, healer, error) {
	s, _ := w.pickStore(r)
	list, end := "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()", "KILL %d"
	if s.driver == "postgres" {
		list, end = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()", "SELECT pg_terminate_backend(%d)"
	}
	ctx, stop := context.WithCancel(ctx)
	random := rand.New(rand.NewPCG(r.Uint64(), 1))
	done := make(chan error, 1)
	go func() {
		for {
			ids, err := sessions(ctx, s.admin, list)
			if err == nil && len(ids) > 0 {
				// It may have ended by itself.
				_, _ = s.admin.ExecContext(ctx, fmt.Sprintf(end, one(random, ids)))
			}
			if wait(ctx, time.Duration(random.Int64N(int64(60*time.Millisecond)))) != nil {
				done <- nil
				return
			}
			if err != nil && ctx.Err() == nil {
				done <- fmt.Errorf("list sessions of %s: %w", s.name, err)
				return
			}
		}
	}()
	return s.name, func(context.Context) error { stop(); return <-done }, nil
}

func sessions(ctx context.Context, db *sql.DB, list string) (ids []int64, err error) {
	rows, err := db.QueryContext(ctx, list)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

func killStore(_ context.Context, w *world, r *rand.Rand) (string, healer, error) {
	s, _ := w.pickStore(r)
	s.server.Kill()
	return s.name, func(context.Context) error { s.server.Start(); return nil }, nil
}

func endStore(_ context.Context, w *world, r *rand.Rand) (string, healer, error) {
	s, _ := w.pickStore(r)
	s.server.Stop()
	return s.name, func(context.Context) error { s.server.Start(); return nil }, nil
}

// retry repeats do, which needs a leader among the NATS servers. An answer that
// is lost never comes, so each try has little time.
func (w *world) retry(ctx context.Context, what string, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		try, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := do(try)
		cancel()
		if err == nil {
			return nil
		}
		if wait(ctx, 200*time.Millisecond) != nil {
			return fmt.Errorf("%s: %w", what, errors.Join(ctx.Err(), err))
		}
	}
}
