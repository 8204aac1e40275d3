package chaos

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	gtxdriver "github.com/globaltx/globaltx/driver"
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/internal/bank"
	"github.com/globaltx/globaltx/internal/testserver"
	"github.com/globaltx/globaltx/xa"
)

// moment is where in the protocol something dies.
type moment string

const (
	// phaseOne: the first participant has prepared, the second has worked and not.
	phaseOne moment = "phase one"
	// allPrepared: nobody has been asked to commit yet.
	allPrepared moment = "all prepared"
	// preCommitted: the participants know that all have prepared, the coordinator does not
	// know that they do, and has written nothing.
	preCommitted moment = "pre-committed"
	// beforeActed: the decision is in the log, and nobody has acted on it.
	beforeActed moment = "phase two, before a participant acted"
	// afterActed: the first participant has ended its branch.
	afterActed moment = "phase two, after a participant acted"
)

// classical is one of the failures that textbooks ask about.
type classical struct {
	mode        gtx.Mode
	at          moment
	coordinator bool // dies
	participant int  // dies: 1 or 2; 0: none
	want        gtx.Status
	// blocked are the participants whose branch is prepared, and its row locked, while those
	// who died are away, whatever anybody does.
	blocked []int
}

func classicalFailures() (all []classical) {
	for _, m := range []gtx.Mode{gtx.XA, gtx.ThreePhase} {
		all = append(all,
			classical{m, phaseOne, true, 0, gtx.Aborted, []int{1}},
			classical{m, phaseOne, false, 2, gtx.Aborted, nil},
			classical{m, phaseOne, true, 2, gtx.Aborted, []int{1}},
			classical{m, allPrepared, true, 0, gtx.Aborted, []int{1, 2}},
			classical{m, beforeActed, true, 0, gtx.Committed, []int{1, 2}},
			classical{m, beforeActed, false, 2, gtx.Committed, nil},
			classical{m, beforeActed, true, 2, gtx.Committed, []int{1}},
			classical{m, afterActed, true, 0, gtx.Committed, []int{2}},
			classical{m, afterActed, false, 1, gtx.Committed, nil},
			classical{m, afterActed, true, 1, gtx.Committed, []int{2}},
		)
	}
	return append(all,
		classical{gtx.ThreePhase, preCommitted, true, 0, gtx.Committed, []int{1, 2}},
		classical{gtx.ThreePhase, preCommitted, true, 2, gtx.Committed, []int{1}},
	)
}

func (c classical) name() string {
	who := "coordinator"
	switch {
	case c.coordinator && c.participant > 0:
		who = fmt.Sprintf("coordinator and participant %d", c.participant)
	case !c.coordinator:
		who = fmt.Sprintf("participant %d", c.participant)
	}
	return fmt.Sprintf("%s, %s: %s", c.mode, c.at, who)
}

// TestClassicalFailures kills the coordinator, a database server, or both, at each moment
// of two-phase and three-phase commit, and holds what is blocked meanwhile, that a
// standby and a restart end it, and how. The application lives, and waits.
func TestClassicalFailures(t *testing.T) {
	if os.Getenv(testserver.ShortEnv) != "" {
		t.Log("SQLite cannot prepare")
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	w := newWorld(ctx, t, t.TempDir(), 1, size{
		nats: 1, coordinators: 2, servers: []string{testserver.NameMariaDB, testserver.NamePostgres18}, trim: 1 << 20, tombstone: time.Hour,
		coordinator: coordinatorConfig{PreCommitWait: time.Minute, ClaimWindow: 5 * time.Second, TakeoverAfter: 500 * time.Millisecond},
	})
	for i, s := range w.stores {
		if _, err := s.admin.ExecContext(ctx, "CREATE TABLE classical (id int PRIMARY KEY, n int NOT NULL)"); err != nil {
			t.Fatalf("store %d: %v", i, err)
		}
	}
	for i, c := range classicalFailures() {
		t.Run(c.name(), func(t *testing.T) { c.run(ctx, t, w, i) })
	}
}

// stage is one failure under way.
type stage struct {
	classical
	t    *testing.T
	w    *world
	row  int
	g    *gated
	dbs  [2]*sql.DB
	ids  [2]gtx.ResourceID // of the prepared branches
	xid  gtx.XID
	told error // what Run returned, when ran is closed
	ran  chan struct{}
	// The function of Run goes on when one of these is closed.
	first, second, end chan struct{}
	held               chan string // where it stands
}

func (c classical) run(ctx context.Context, t *testing.T, w *world, row int) {
	s := &stage{
		classical: c, t: t, w: w, row: row, g: newGated(w.bus), ran: make(chan struct{}),
		first: make(chan struct{}), second: make(chan struct{}), end: make(chan struct{}), held: make(chan string, 3),
	}
	for i, st := range w.stores {
		db, err := database{st.driver, st.dsn + map[string]string{"mysql": "?", "postgres": "&"}[st.driver] + "gtx_scan_interval=200ms"}.open(true, 4)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		s.dbs[i] = db
		if _, err := st.admin.ExecContext(ctx, fmt.Sprintf("INSERT INTO classical VALUES (%d, 100)", row)); err != nil {
			t.Fatal(err)
		}
		// Served under the gate from the first branch on.
		r, err := gtxdriver.Participant(db).CanCommit(ctx, s.g)
		if err != nil {
			t.Fatal(err)
		}
		s.ids[i] = r
	}
	s.g.deaf = c.at == preCommitted
	go s.transaction(ctx)
	s.reach(ctx)
	s.fail(ctx)
}

// transaction works at both participants, in step with the test.
func (s *stage) transaction(ctx context.Context) {
	defer close(s.ran)
	opts := []gtx.Option{gtx.WithCoordinator(s.g), gtx.WithMode(s.mode), gtx.WithTimeout(time.Minute), gtx.WithRetries(0)}
	if s.mode == gtx.ThreePhase {
		opts = append(opts, gtx.WithResources(gtxdriver.Participant(s.dbs[0]), gtxdriver.Participant(s.dbs[1])))
	}
	s.told = gtx.Run(ctx, func(ctx context.Context) error {
		if tx, ok := gtx.FromContext(ctx); ok {
			s.xid = tx.XID()
		}
		for i, next := range []chan struct{}{s.first, s.second} {
			tx, err := s.dbs[i].BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer tx.Rollback()
			if _, err := tx.ExecContext(ctx, fmt.Sprintf("UPDATE classical SET n = n + 10 WHERE id = %d", s.row)); err != nil {
				return err
			}
			s.held <- fmt.Sprintf("worked at %d", i+1)
			<-next
			if err := tx.Commit(); err != nil {
				return err
			}
		}
		s.held <- "prepared"
		<-s.end
		return nil
	}, opts...)
}

// reach goes on to the moment.
func (s *stage) reach(ctx context.Context) {
	s.t.Helper()
	s.stands("worked at 1")
	close(s.first)
	s.stands("worked at 2")
	if s.at == phaseOne {
		return
	}
	close(s.second)
	s.stands("prepared")
	if s.at == allPrepared {
		return
	}
	s.g.set(true, s.ids[:]...)
	close(s.end)
	if s.at == preCommitted {
		s.until(ctx, "both participants are told", func() bool { return s.g.knows(s.ids[0], s.xid) && s.g.knows(s.ids[1], s.xid) })
		return
	}
	if st := <-s.g.decided; st != gtx.Committed {
		s.t.Fatalf("commit was answered with %s", st)
	}
	if s.at == afterActed {
		s.g.set(false, s.ids[0])
		s.until(ctx, "participant 1 has ended its branch", func() bool { return !s.prepared(ctx, 1) })
	}
}

// stands waits for the next place where the transaction is held.
func (s *stage) stands(want string) {
	s.t.Helper()
	select {
	case got := <-s.held:
		if got != want {
			s.t.Fatalf("the transaction %s, want %s", got, want)
		}
	case <-s.ran:
		s.t.Fatalf("the transaction ended before it %s: %v", want, s.told)
	}
}

// fail kills, looks, and has everything end.
func (s *stage) fail(ctx context.Context) {
	t, w := s.t, s.w
	t.Helper()
	var heal []healer
	var standby *slot
	if s.coordinator {
		leader := w.leader()
		standby = w.coords[0]
		if standby == leader {
			standby = w.coords[1]
		}
		standby.proc.signal(syscall.SIGSTOP) // nobody leads until we have looked
		_, restart, err := w.kill(leader)
		if err != nil {
			t.Fatal(err)
		}
		heal = append(heal, restart)
	}
	if s.participant > 0 {
		server := w.stores[s.participant-1].server
		server.Kill()
		heal = append(heal, func(context.Context) error { server.Start(); return nil })
	}
	s.g.set(false, s.ids[:]...)
	if s.coordinator {
		// The fault lasts for several scans. Whoever could act has every chance.
		if err := wait(ctx, 700*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		for _, p := range s.blocked {
			if !s.prepared(ctx, p) || !s.locked(ctx, p) {
				t.Errorf("participant %d: prepared %t, locked %t while there is no coordinator, want both", p, s.prepared(ctx, p), s.locked(ctx, p))
			}
		}
		before := w.hist.leads()
		standby.proc.signal(syscall.SIGCONT)
		if err := w.hist.await(ctx, "the standby to lead", func() bool { return w.hist.leader != before }); err != nil {
			t.Fatal(err)
		}
	}
	// Those who live end it without those who are dead.
	for p := 1; p <= 2; p++ {
		if p != s.participant && (s.at != phaseOne || p == 1) && (s.coordinator || s.at != phaseOne) {
			s.until(ctx, fmt.Sprintf("participant %d has ended its branch", p), func() bool { return !s.prepared(ctx, p) })
		}
	}
	for _, h := range heal {
		if err := h(ctx); err != nil {
			t.Fatal(err)
		}
	}
	s.goOn()
	s.ended(ctx)
}

// goOn lets the application do what it still wants to do.
func (s *stage) goOn() {
	for _, c := range []chan struct{}{s.second, s.end, s.g.release} {
		select {
		case <-c:
		default:
			close(c)
		}
	}
	<-s.ran
}

// ended holds the outcome: in the databases, at the coordinator, and for the application.
func (s *stage) ended(ctx context.Context) {
	s.t.Helper()
	for p := 1; p <= 2; p++ {
		s.until(ctx, fmt.Sprintf("nothing is left at participant %d", p), func() bool { return !s.prepared(ctx, p) && !s.locked(ctx, p) })
		want := map[gtx.Status]int{gtx.Committed: 110, gtx.Aborted: 100}[s.want]
		var got int
		if err := s.w.stores[p-1].admin.QueryRowContext(ctx, fmt.Sprintf("SELECT n FROM classical WHERE id = %d", s.row)).Scan(&got); err != nil || got != want {
			s.t.Errorf("participant %d holds %d (%v), want %d", p, got, err, want)
		}
	}
	st, err := settle(ctx, s.w.bus, s.xid.String())
	if err != nil || st != s.want {
		s.t.Errorf("the coordinator says %s (%v), want %s", st, err, s.want)
	}
	if s.at == preCommitted {
		claimed := int64(0)
		for _, db := range s.dbs {
			if st, ok := gtxdriver.Prepared(db); ok {
				claimed += st.Claimed
			}
		}
		if claimed == 0 {
			s.t.Error("nobody has claimed the transaction, and yet it has ended")
		}
	}
	told := gtx.Committed
	switch {
	case errors.Is(s.told, gtx.ErrUnknown): // as it may be where the answer was lost
		told = s.want
	case s.told != nil:
		told = gtx.Aborted
	}
	if told != s.want {
		s.t.Errorf("the application was told %v, want %s", s.told, s.want)
	}
}

// until polls.
func (s *stage) until(ctx context.Context, what string, ok func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	for !ok() {
		if wait(ctx, 20*time.Millisecond) != nil {
			s.t.Fatalf("never: %s", what)
		}
	}
}

// prepared tells whether participant p lists a branch of ours.
func (s *stage) prepared(ctx context.Context, p int) bool {
	s.t.Helper()
	st := s.w.stores[p-1]
	names, err := bank.Prepared(ctx, newSide(st.admin, st.driver))
	if err != nil {
		s.t.Fatalf("participant %d: %v", p, err)
	}
	for _, n := range names {
		if n.XID == s.xid && xa.ResourceOf(n.Database) == s.ids[p-1] {
			return true
		}
	}
	return false
}

// locked tells whether somebody has the row, without waiting for it.
func (s *stage) locked(ctx context.Context, p int) bool {
	s.t.Helper()
	var n int
	err := s.w.stores[p-1].admin.QueryRowContext(ctx, fmt.Sprintf("SELECT n FROM classical WHERE id = %d FOR UPDATE NOWAIT", s.row)).Scan(&n)
	return err != nil
}
