package integration

import (
	"bufio"
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/globaltx/globaltx/driver"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/coordinator"
	"github.com/globaltx/globaltx/internal/testserver"
	"github.com/globaltx/globaltx/internal/testserver/testdb"
	"github.com/globaltx/globaltx/natsbus"
)

const crashEnv = "GTX_CRASH_CHILD"

// everyCrashEnv, not empty, makes TestCrashAtEveryStep kill before each step, too,
// and around reads: three times as long, for no state that it would not see otherwise.
const everyCrashEnv = "GTX_CRASH_ALL"

func TestMain(m *testing.M) {
	if spec := os.Getenv(crashEnv); spec != "" {
		crashChild(spec)
		return
	}
	testserver.Main(m)
}

var openers = testdb.Openers

// crasher kills the process at the n-th step: a step is everything that leaves
// it, after its answer. A process that dies before it sends something leaves behind
// what it left after the step before; the same holds around a read, whose locks die
// with its connection. So these are steps only if all is set.
type crasher struct {
	at    int64
	all   bool
	steps atomic.Int64
}

func (c *crasher) step(when, what string) {
	if !c.all && when == "before" || c.steps.Add(1) != c.at {
		return
	}
	fmt.Printf("CRASH %s %s\n", when, what)
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

type crashConnector struct {
	sqldriver.Connector
	c    *crasher
	name string
}

func (k crashConnector) Connect(ctx context.Context) (sqldriver.Conn, error) {
	c, err := k.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &crashConn{Conn: c, c: k.c, name: k.name}, nil
}

type crashConn struct {
	sqldriver.Conn
	c    *crasher
	name string
}

func (k *crashConn) step(when, q string) {
	if q = first(q); k.c.all || !strings.HasPrefix(q, "SELECT ") {
		k.c.step(when, k.name+" "+q)
	}
}

func (k *crashConn) ExecContext(ctx context.Context, q string, args []sqldriver.NamedValue) (sqldriver.Result, error) {
	k.step("before", q)
	res, err := k.Conn.(sqldriver.ExecerContext).ExecContext(ctx, q, args)
	k.step("after", q)
	return res, err
}

func (k *crashConn) QueryContext(ctx context.Context, q string, args []sqldriver.NamedValue) (sqldriver.Rows, error) {
	k.step("before", q)
	rows, err := k.Conn.(sqldriver.QueryerContext).QueryContext(ctx, q, args)
	k.step("after", q)
	return rows, err
}

func (k *crashConn) BeginTx(ctx context.Context, opts sqldriver.TxOptions) (sqldriver.Tx, error) {
	tx, err := k.Conn.(sqldriver.ConnBeginTx).BeginTx(ctx, opts)
	if err != nil {
		return nil, err
	}
	return &crashTx{Tx: tx, c: k.c, name: k.name}, nil
}

func (k *crashConn) PrepareContext(ctx context.Context, q string) (sqldriver.Stmt, error) {
	return k.Conn.(sqldriver.ConnPrepareContext).PrepareContext(ctx, q)
}

func (k *crashConn) CheckNamedValue(nv *sqldriver.NamedValue) error {
	if ch, ok := k.Conn.(sqldriver.NamedValueChecker); ok {
		return ch.CheckNamedValue(nv)
	}
	return sqldriver.ErrSkip
}

type crashTx struct {
	sqldriver.Tx
	c    *crasher
	name string
}

func (k *crashTx) Commit() error {
	k.c.step("before", k.name+" COMMIT")
	err := k.Tx.Commit()
	k.c.step("after", k.name+" COMMIT")
	return err
}

// first names a statement by its beginning.
func first(q string) string {
	q = strings.Join(strings.Fields(q), " ")
	return q[:min(len(q), 40)]
}

// crashCoordinator makes each call to the coordinator a step.
type crashCoordinator struct {
	gtx.Coordinator
	c *crasher
}

func (k crashCoordinator) Begin(ctx context.Context, r gtx.BeginRequest) (gtx.XID, error) {
	defer k.c.step("after", "Begin")
	return k.Coordinator.Begin(ctx, r)
}

func (k crashCoordinator) Register(ctx context.Context, xid gtx.XID, b gtx.BranchRef) error {
	defer k.c.step("after", "Register")
	return k.Coordinator.Register(ctx, xid, b)
}

func (k crashCoordinator) Commit(ctx context.Context, xid gtx.XID, confirmed, dead []gtx.BranchRef) (gtx.Status, error) {
	k.c.step("before", "Commit")
	defer k.c.step("after", "Commit")
	return k.Coordinator.Commit(ctx, xid, confirmed, dead)
}

func (k crashCoordinator) Rollback(ctx context.Context, xid gtx.XID) (gtx.Status, error) {
	k.c.step("before", "Rollback")
	defer k.c.step("after", "Rollback")
	return k.Coordinator.Rollback(ctx, xid)
}

// The rest are those of gtx.PreCommitter. A vote leaves nothing behind.

func (k crashCoordinator) Ready(ctx context.Context, xid gtx.XID, r gtx.ResourceID) error {
	defer k.c.step("after", "Ready")
	return k.Coordinator.(gtx.PreCommitter).Ready(ctx, xid, r)
}

func (k crashCoordinator) Claim(ctx context.Context, xid gtx.XID, participants []gtx.ResourceID) (gtx.Status, error) {
	return k.Coordinator.(gtx.PreCommitter).Claim(ctx, xid, participants)
}

func (k crashCoordinator) CanCommit(ctx context.Context, r gtx.ResourceID) error {
	return k.Coordinator.(gtx.PreCommitter).CanCommit(ctx, r)
}

// crashChild moves money twice: once committed, once aborted after both local
// commits. It dies at its step, or prints DONE.
func crashChild(spec string) {
	part := strings.Split(spec, "\n") // driver, dsn, driver, dsn, dir, step, mode
	at, err := strconv.ParseInt(part[5], 10, 64)
	if err != nil {
		panic(err)
	}
	mode, err := strconv.ParseUint(part[6], 10, 8)
	if err != nil {
		panic(err)
	}
	c := &crasher{at: at, all: os.Getenv(everyCrashEnv) != ""}
	ctx := context.Background()
	bus, err := natsbus.Embedded(ctx, part[4])
	if err != nil {
		panic(err)
	}
	coord := crashCoordinator{bus, c}
	var banks [2]*sql.DB
	for i := range banks {
		opener, side := openers[part[2*i]], string(rune('A'+i))
		connector, err := driver.New(func(dsn string) (driver.Base, error) {
			b, err := opener(dsn)
			if err != nil {
				return b, err
			}
			if b.Resolver == nil {
				b.Resolver = b.Connector
			}
			b.Resolver = crashConnector{b.Resolver, c, side + " phase two"}
			b.Connector = crashConnector{b.Connector, c, side}
			return b, nil
		}).(sqldriver.DriverContext).OpenConnector(part[2*i+1])
		if err != nil {
			panic(err)
		}
		banks[i] = sql.OpenDB(connector)
	}
	opts := []gtx.Option{gtx.WithCoordinator(coord), gtx.WithMode(gtx.Mode(mode))}
	if gtx.Mode(mode) == gtx.ThreePhase {
		opts = append(opts, gtx.WithResources(driver.Participant(banks[0]), driver.Participant(banks[1])))
	}
	fail := errors.New("changed my mind")
	for _, id := range []string{"kept", "undone"} {
		err := gtx.Run(ctx, func(ctx context.Context) error {
			for i, db := range banks {
				if err := move(ctx, db, id, 10*(2*i-1)); err != nil {
					return err
				}
			}
			if id == "undone" {
				return fail
			}
			return nil
		}, opts...)
		if id == "undone" && !errors.Is(err, fail) || id == "kept" && err != nil {
			panic(err)
		}
		fmt.Printf("TOLD %s %v\n", id, err == nil)
	}
	deadline, tick := time.After(time.Minute), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for _, db := range banks {
		for {
			n, err := leftovers(ctx, db)
			if err == nil && n == 0 {
				break
			}
			select {
			case <-tick.C:
			case <-deadline:
				panic(fmt.Sprintf("%d rows are left after a minute (%v)", n, err))
			}
		}
	}
	fmt.Println("DONE")
}

// move changes the account and writes the transfer down, in one local
// transaction.
func move(ctx context.Context, db *sql.DB, id string, amount int) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	for _, q := range []string{
		fmt.Sprintf("UPDATE account SET balance = balance + (%d) WHERE id = 1", amount),
		fmt.Sprintf("INSERT INTO transfer (id, amount) VALUES ('%s', %d)", id, amount),
	} {
		if _, err := tx.ExecContext(ctx, q); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	return tx.Commit()
}

// TestCrashAtEveryStep kills the process after everything that it sends, one run
// for each step (crasher), restarts it and holds that each transfer is on
// both sides or on none, that what the caller was told is true, and that nothing
// is left.
func TestCrashAtEveryStep(t *testing.T) {
	all := servers()
	for _, tc := range []struct {
		pair [2]server
		mode gtx.Mode
	}{
		{[2]server{all[0], all[0]}, gtx.AT},
		{[2]server{all[1], all[3]}, gtx.AT},
		{[2]server{all[4], all[2]}, gtx.AT},
		{[2]server{all[1], all[2]}, gtx.XA},
		{[2]server{all[3], all[4]}, gtx.XA},
		{[2]server{all[2], all[3]}, gtx.ThreePhase},
		{[2]server{all[4], all[1]}, gtx.ThreePhase},
	} {
		pair := tc.pair
		t.Run(pair[0].name+"+"+pair[1].name+" "+tc.mode.String(), func(t *testing.T) {
			dsns := [2]string{pair[0].dsn(t), pair[1].dsn(t)}
			var banks [2]*sql.DB
			for i, s := range pair {
				db, err := sql.Open(s.driver, dsns[i])
				if err != nil {
					t.Fatal(err)
				}
				mustExec(t, db, "CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL)")
				mustExec(t, db, "CREATE TABLE transfer (id varchar(20) PRIMARY KEY, amount bigint NOT NULL)")
				mustExec(t, db, "INSERT INTO account VALUES (1, 1000)")
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
			}
			dir := t.TempDir()
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			for step, done := 1, false; !done; step++ {
				if step > 500 {
					t.Fatal("the child never finished without a crash")
				}
				cmd := exec.Command(exe)
				cmd.Env = append(os.Environ(), crashEnv+"="+strings.Join([]string{pair[0].driver, dsns[0], pair[1].driver, dsns[1], dir, strconv.Itoa(step), strconv.Itoa(int(tc.mode))}, "\n"))
				out, err := cmd.CombinedOutput()
				done = strings.Contains(string(out), "DONE")
				crashed := strings.Contains(string(out), "CRASH")
				if !done && !crashed {
					t.Fatalf("step %d: child failed: %v\n%s", step, err, out)
				}
				told := map[string]string{}
				where := ""
				for sc := bufio.NewScanner(strings.NewReader(string(out))); sc.Scan(); {
					if f := strings.Fields(sc.Text()); len(f) == 3 && f[0] == "TOLD" {
						told[f[1]] = f[2]
					} else if len(f) > 1 && f[0] == "CRASH" {
						where = sc.Text()
					}
				}
				// Nobody is left to claim what the process that died has begun.
				bus, err := natsbus.Embedded(t.Context(), dir, natsbus.WithCoordinator(coordinator.Config{ClaimWindow: 50 * time.Millisecond}))
				if err != nil {
					t.Fatalf("step %d, %s: restart: %v", step, where, err)
				}
				gtx.SetDefault(bus)
				for i, s := range pair {
					if banks[i], err = sql.Open(s.driver, dsns[i]+separator(dsns[i])+"gtx_scan_interval=20ms"); err != nil {
						t.Fatal(err)
					}
					clean(t, banks[i])
				}
				checkBanks(t, banks, told)
				if t.Failed() {
					t.Fatalf("step %d, %s\n%s", step, where, out)
				}
				for _, db := range banks {
					mustExec(t, db, "DELETE FROM transfer")
					mustExec(t, db, "UPDATE account SET balance = 1000")
					if err := db.Close(); err != nil {
						t.Fatal(err)
					}
				}
				gtx.SetDefault(nil)
				if err := bus.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func checkBanks(t *testing.T, banks [2]*sql.DB, told map[string]string) {
	t.Helper()
	ctx := context.Background()
	total := 0
	var there [2]map[string]bool
	for i, db := range banks {
		var balance, sum int
		if err := db.QueryRowContext(ctx, "SELECT balance FROM account").Scan(&balance); err != nil {
			t.Fatal(err)
		}
		total += balance
		there[i] = map[string]bool{}
		rows, err := db.QueryContext(ctx, "SELECT id, amount FROM transfer")
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var id string
			var amount int
			if err := rows.Scan(&id, &amount); err != nil {
				t.Fatal(err)
			}
			there[i][id] = true
			sum += amount
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			t.Fatal(err)
		}
		if balance != 1000+sum {
			t.Errorf("side %d: balance %d, want 1000 and the transfers' %d", i, balance, sum)
		}
	}
	if total != 2000 {
		t.Errorf("money: %d, want 2000", total)
	}
	for _, id := range []string{"kept", "undone"} {
		if there[0][id] != there[1][id] {
			t.Errorf("transfer %q: on side A %v, on side B %v", id, there[0][id], there[1][id])
		}
		if told[id] == "true" && !there[0][id] || told[id] == "false" && there[0][id] {
			t.Errorf("transfer %q: the caller was told committed=%s, it is there: %v", id, told[id], there[0][id])
		}
	}
}
