package compare

import (
	"bufio"
	"database/sql"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	_ "github.com/globaltx/globaltx/driver/mysql"
	_ "github.com/globaltx/globaltx/driver/pgx"
	_ "github.com/globaltx/globaltx/driver/sqlite"
	"github.com/globaltx/globaltx/internal/testserver"
	"github.com/globaltx/globaltx/internal/testserver/testdb"
)

// brokerEnv has the test binary be a NATS server, with its store in the directory named:
// what the server computes is nobody's time then.
const brokerEnv = "GTX_COMPARE_BROKER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(brokerEnv); dir != "" {
		if err := serve(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	testserver.Main(m)
}

// serve runs until standard input ends.
func serve(dir string) error {
	srv, err := server.NewServer(&server.Options{JetStream: true, StoreDir: dir, Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true})
	if err != nil {
		return err
	}
	go srv.Start()
	if !srv.ReadyForConnections(30 * time.Second) {
		return fmt.Errorf("the NATS server does not start")
	}
	fmt.Println(srv.ClientURL())
	_, err = io.Copy(io.Discard, os.Stdin)
	srv.Shutdown()
	srv.WaitForShutdown()
	return err
}

// broker starts a NATS server, in a process of its own, that ends with the test.
func broker(t *testing.T) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), brokerEnv+"="+t.TempDir())
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("NATS server: %v", err)
		}
	})
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("NATS server: %v", err)
	}
	nc, err := nats.Connect(strings.TrimSpace(url))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

// place is a kind of database.
type place struct {
	name, family, base, ours string
	dsn                      func(t testing.TB) string
	sending                  bool // nothing else would differ
}

var places = []place{
	{"PostgreSQL 18 (pgx)", "postgres", "pgx", "gtx-pgx", testserver.Postgres18, false},
	{"MySQL 9.7", "mysql", "mysql", "gtx-mysql", testserver.MySQL, false},
	{"MySQL 9.7, interpolateParams", "mysql", "mysql", "gtx-mysql", func(t testing.TB) string {
		dsn := testserver.MySQL(t)
		if strings.Contains(dsn, "?") {
			return dsn + "&interpolateParams=true"
		}
		return dsn + "?interpolateParams=true"
	}, true},
	{"MariaDB 10.11", "mysql", "mysql", "gtx-mysql", testserver.MariaDB, false},
	{"SQLite", "sqlite", "sqlite", "gtx-sqlite", testdb.SQLiteDSN, false},
}

// rig opens a fresh database with both drivers.
func (p place) rig(t *testing.T, nc *nats.Conn, js jetstream.JetStream) *Rig {
	t.Helper()
	dsn := p.dsn(t)
	// Watermill's adapter for SQLite is another module, not compared. And MySQL takes no
	// bytes for a column of type JSON, which its publisher sends where arguments become
	// part of the text.
	r := &Rig{Family: p.family, Conn: nc, JS: js, NoWatermill: p.family == "sqlite" || p.sending}
	for _, o := range []struct {
		db     **sql.DB
		driver string
	}{{&r.Base, p.base}, {&r.Ours, p.ours}} {
		db, err := sql.Open(o.driver, dsn)
		if err != nil {
			t.Fatal(err)
		}
		db.SetMaxIdleConns(16)
		t.Cleanup(func() {
			if err := db.Close(); err != nil {
				t.Errorf("close database: %v", err)
			}
		})
		*o.db = db
	}
	return r
}
