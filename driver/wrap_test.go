package driver_test

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/globaltx/globaltx/driver"
	"github.com/globaltx/globaltx/driver/sqlite"
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/natsbus"
)

// Any connector can be wrapped, one that a hook was put around too.
func ExampleWrapConnector() {
	base, err := sqlite.Open(filepath.Join(dir(), "example.db"))
	if err != nil {
		panic(err)
	}
	db := sql.OpenDB(driver.WrapConnector(printing{base.Connector}, base.Dialect, driver.Config{LockWait: time.Second}))
	defer db.Close()
	if _, err := db.Exec("CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL)"); err != nil {
		panic(err)
	}
	// Output: CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL)
}

// The base connection is at hand outside of global transactions.
func ExampleUnwrap() {
	db, err := sql.Open("gtx-sqlite", filepath.Join(dir(), "example.db"))
	if err != nil {
		panic(err)
	}
	defer db.Close()
	conn, err := db.Conn(context.Background())
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	err = conn.Raw(func(c any) error {
		base, err := driver.Unwrap(c)
		fmt.Printf("%T\n", base)
		return err
	})
	fmt.Println(err)
	// Output:
	// *sqlite.conn
	// <nil>
}

// printing prints what the program's connections execute.
type printing struct{ sqldriver.Connector }

func (p printing) Connect(ctx context.Context) (sqldriver.Conn, error) {
	c, err := p.Connector.Connect(ctx)
	return printingConn{c}, err
}

type printingConn struct{ sqldriver.Conn }

func (c printingConn) Raw() sqldriver.Conn { return c.Conn }

func (c printingConn) QueryContext(ctx context.Context, text string, args []sqldriver.NamedValue) (sqldriver.Rows, error) {
	return c.Conn.(sqldriver.QueryerContext).QueryContext(ctx, text, args)
}

func (c printingConn) ExecContext(ctx context.Context, text string, args []sqldriver.NamedValue) (sqldriver.Result, error) {
	if strings.Contains(text, "account") {
		fmt.Println(text)
	}
	return c.Conn.(sqldriver.ExecerContext).ExecContext(ctx, text, args)
}

// old is a base driver without a connector, which writes down the DSNs that reach it.
type old struct {
	t    *testing.T
	dsns *[]string
}

func (o old) Open(dsn string) (sqldriver.Conn, error) {
	*o.dsns = append(*o.dsns, dsn)
	if strings.Contains(dsn, "wrong") {
		return nil, errWrong
	}
	b, err := sqlite.Open(dsn)
	if err != nil {
		return nil, err
	}
	return b.Connector.Connect(o.t.Context())
}

// modern makes connectors, and refuses DSNs at once.
type modern struct{ old }

func (m modern) OpenConnector(dsn string) (sqldriver.Connector, error) {
	if strings.Contains(dsn, "wrong") {
		return nil, errWrong
	}
	b, err := sqlite.Open(dsn)
	return b.Connector, err
}

var errWrong = errors.New("wrong DSN")

func bus(t *testing.T) gtx.Coordinator {
	t.Helper()
	b, err := natsbus.Embedded(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// works tells that db takes part in global transactions.
func works(t *testing.T, db *sql.DB) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL)"); err != nil {
		t.Fatal(err)
	}
	undo := errors.New("undo")
	for _, want := range []error{nil, undo} {
		if err := gtx.Run(t.Context(), func(ctx context.Context) error {
			if _, err := db.ExecContext(ctx, "INSERT INTO account VALUES ((SELECT count(*) FROM account), 5)"); err != nil {
				return err
			}
			return want
		}, gtx.WithCoordinator(bus(t))); !errors.Is(err, want) {
			t.Fatal(err)
		}
	}
	deadline := time.Now().Add(20 * time.Second)
	for n := 0; n != 1; { // the abort arrives behind Run
		if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM account").Scan(&n); err != nil || time.Now().After(deadline) {
			t.Fatalf("%d accounts, %v", n, err)
		}
	}
}

// TestWrap: a base driver of any age, with the parameters of the DSN that are ours.
func TestWrap(t *testing.T) {
	var dsns []string
	base := old{t, &dsns}
	for name, k := range map[string]struct {
		base  sqldriver.Driver
		early bool // a wrong DSN is refused by sql.Open
	}{"old": {base, false}, "modern": {modern{base}, true}} {
		t.Run(name, func(t *testing.T) {
			d := driver.Wrap(k.base, sqlite.Dialect{}, driver.Config{Split: sqlite.SplitDSN})
			connector := func(dsn string) (sqldriver.Connector, error) {
				return d.(sqldriver.DriverContext).OpenConnector(dsn)
			}
			if _, err := connector("x.db?gtx_lock_wait=soon"); err == nil || !strings.Contains(err.Error(), "gtx_lock_wait") {
				t.Errorf("wrong parameter: %v", err)
			}
			c, err := connector("wrong")
			if k.early != (err == errWrong) { //nolint:errorlint // unchanged
				t.Errorf("wrong DSN: %v", err)
			}
			if !k.early {
				db := sql.OpenDB(c)
				if _, err := db.ExecContext(t.Context(), "SELECT 1"); err != errWrong { //nolint:errorlint // unchanged
					t.Errorf("wrong DSN: %v", err)
				}
				db.Close()
			}
			dsns = nil
			c, err = connector(filepath.Join(t.TempDir(), "x.db") + "?gtx_scan_interval=50ms")
			if err != nil {
				t.Fatal(err)
			}
			db := sql.OpenDB(c)
			defer db.Close()
			works(t, db)
			for _, dsn := range dsns {
				if strings.Contains(dsn, "gtx_") {
					t.Errorf("the base driver got %q", dsn)
				}
			}
			if _, ok := driver.Stats(db); !ok {
				t.Error("no Stats")
			}
			// Whoever opens another database by the driver of this one, gets the like.
			again, err := db.Driver().(sqldriver.DriverContext).OpenConnector(filepath.Join(t.TempDir(), "y.db"))
			if err != nil {
				t.Fatal(err)
			}
			other := sql.OpenDB(again)
			defer other.Close()
			works(t, other)
		})
	}
}

// TestWrapUnsplit: without Split the DSN is the base driver's alone.
func TestWrapUnsplit(t *testing.T) {
	var dsns []string
	d := driver.Wrap(old{t, &dsns}, sqlite.Dialect{}, driver.Config{})
	const dsn = "wrong?gtx_lock_wait=soon"
	c, err := d.(sqldriver.DriverContext).OpenConnector(dsn)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(c)
	defer db.Close()
	if err := db.PingContext(t.Context()); err != errWrong || dsns[0] != dsn { //nolint:errorlint // unchanged
		t.Errorf("%v, the base driver got %q", err, dsns)
	}
}

// closer counts how often it is closed.
type closer struct {
	sqldriver.Connector
	closed int
	err    error
}

func (c *closer) Close() error {
	c.closed++
	return c.err
}

// TestWrapConnectorCloses: connectors are closed once, and the error is the program's.
func TestWrapConnectorCloses(t *testing.T) {
	open := func(path string) *closer {
		b, err := sqlite.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		return &closer{Connector: b.Connector}
	}
	path := filepath.Join(t.TempDir(), "x.db")
	base, resolver, both := open(path), open(path), open(filepath.Join(t.TempDir(), "y.db"))
	base.err = errWrong
	db := sql.OpenDB(driver.WrapConnector(base, sqlite.Dialect{}, driver.Config{Resolver: resolver}))
	works(t, db)
	if err := db.Close(); err != errWrong { //nolint:errorlint // unchanged
		t.Errorf("close: %v", err)
	}
	c := driver.WrapConnector(both, sqlite.Dialect{}, driver.Config{Resolver: both})
	db = sql.OpenDB(c)
	works(t, db)
	if err := errors.Join(db.Close(), c.(interface{ Close() error }).Close()); err != nil {
		t.Errorf("close: %v", err)
	}
	for name, k := range map[string]*closer{"base": base, "resolver": resolver, "both": both} {
		if k.closed != 1 {
			t.Errorf("%s was closed %d times", name, k.closed)
		}
	}
}

// TestOpen: who opens a connection by the driver alone has a database for as long as
// the connection is open.
func TestOpen(t *testing.T) {
	for _, fail := range []bool{false, true} {
		var c *closer
		d := driver.New(func(dsn string) (driver.Base, error) {
			b, err := sqlite.Open(dsn)
			c = &closer{Connector: b.Connector}
			if b.Connector = c; fail {
				b.Connector = failing{c}
			}
			return b, err
		})
		conn, err := d.Open(filepath.Join(t.TempDir(), "x.db"))
		if fail != (err == errWrong) { //nolint:errorlint // unchanged
			t.Fatal(err)
		}
		if !fail {
			if c.closed != 0 {
				t.Error("closed too early")
			}
			if err := errors.Join(conn.Close(), conn.Close()); err != nil {
				t.Error(err)
			}
		}
		if c.closed != 1 {
			t.Errorf("failing %t: its database was closed %d times", fail, c.closed)
		}
	}
}

// failing opens no connection.
type failing struct{ *closer }

func (failing) Connect(context.Context) (sqldriver.Conn, error) { return nil, errWrong }

// TestRefusedCloses: what the base driver has given is closed where it is of no use.
func TestRefusedCloses(t *testing.T) {
	base, resolver := &closer{}, &closer{}
	db := sql.OpenDB(driver.WrapConnector(base, sqlite.Dialect{}, driver.Config{LockWait: -1, Resolver: resolver}))
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	if base.closed != 1 || resolver.closed != 1 {
		t.Errorf("after a wrong Config: closed %d and %d times", base.closed, resolver.closed)
	}
	base, resolver = &closer{}, &closer{}
	d := driver.New(func(string) (driver.Base, error) {
		return driver.Base{Connector: base, Resolver: resolver, Dialect: sqlite.Dialect{}, Params: map[string]string{"gtx_guard": "perhaps"}}, nil
	})
	if _, err := d.(sqldriver.DriverContext).OpenConnector(""); err == nil {
		t.Error("takes gtx_guard=perhaps")
	}
	if base.closed != 1 || resolver.closed != 1 {
		t.Errorf("after a wrong parameter: closed %d and %d times", base.closed, resolver.closed)
	}
}

// TestConfigRefused: what cannot be is told before anything runs.
func TestConfigRefused(t *testing.T) {
	for _, cfg := range []driver.Config{{LockWait: -1}, {ScanInterval: -time.Second}} {
		var dsns []string
		if _, err := driver.Wrap(old{t, &dsns}, sqlite.Dialect{}, cfg).Open("x"); err == nil || dsns != nil {
			t.Errorf("%+v: Wrap takes it: %v", cfg, err)
		}
		db := sql.OpenDB(driver.WrapConnector(&closer{}, sqlite.Dialect{}, cfg))
		if err := db.PingContext(t.Context()); err == nil || !strings.Contains(err.Error(), "want none below zero") {
			t.Errorf("%+v: WrapConnector: %v", cfg, err)
		}
		db.Close()
	}
}
