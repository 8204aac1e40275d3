package integration

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	mysqldriver "github.com/go-sql-driver/mysql"
	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/natsbus"
)

// TestPeers08KeysAreTheServers: elsewhere keys that the server takes for one are
// locked as two (letter case, padding), keys that are two are locked as one
// (a_b+c and a+b_c), and a statement that changed nothing drops the locks of those
// after it. Here two rows conflict exactly when they are one row to the server.
func TestPeers08KeysAreTheServers(t *testing.T) {
	cases := []struct {
		name, servers string // letters of TestForms
		key           string // columns of the primary key, k first
		insert        []string
		hold          string // WHERE of the first transaction
		free, taken   []string
	}{
		{
			"joined", "smapq", "k varchar(20) NOT NULL, l varchar(20) NOT NULL, m int NOT NULL, PRIMARY KEY (k, l, m)",
			[]string{"'a_b', 'c', 1", "'a', 'b_c', 1", "'a_b_c', '', 1", "'', 'a_b_c', 1", "'a,b', 'c', 1", "'a', 'b,c', 1", "'a', 'b', 11", "'a', 'b1', 1", `'"a"', 'b', 1`, "'a|', 'b', 1", "'a', '|b', 1", "'a_b', 'c', 11"},
			"k = 'a_b' AND l = 'c' AND m = 1",
			[]string{"k = 'a' AND l = 'b_c'", "k = 'a_b_c'", "k = ''", "k = 'a,b'", "k = 'a' AND l = 'b,c'", "k = 'a' AND l = 'b'", "k = 'a' AND l = 'b1'", `k = '"a"'`, "k = 'a|'", "k = 'a' AND l = '|b'", "m = 11 AND l = 'c'"},
			[]string{"l = 'c' AND m = 1 AND k <> 'a,b'", "m = 1"},
		},
		{
			"null text", "smapq", "k varchar(20) NOT NULL, l varchar(20) NOT NULL, PRIMARY KEY (k, l)",
			[]string{"'NULL', ''", "'', 'NULL'", "'~', ''"},
			"k = 'NULL'",
			[]string{"k = ''", "k = '~'"},
			[]string{"l = ''"},
		},
		{
			"any case", "ma", "k varchar(20) PRIMARY KEY",
			[]string{"'abc'", "'abd'", "'ß'"},
			"k = 'abc'",
			[]string{"k = 'ABD'", "k = 'ß'"},
			[]string{"k = 'ABC'", "k = 'aBc'", "k = 'ABC' OR k = 'abd'"},
		},
		{
			"any case", "s", "k varchar(20) COLLATE NOCASE PRIMARY KEY",
			[]string{"'abc'", "'abd'", "'ß'"},
			"k = 'abc'",
			[]string{"k = 'ABD'", "k = 'ß'"},
			[]string{"k = 'ABC'", "k = 'aBc'"},
		},
		{
			"one case", "spq", "k varchar(20) PRIMARY KEY",
			[]string{"'abc'", "'ABC'", "'abc '"},
			"k = 'abc'",
			[]string{"k = 'ABC'", "k = 'abc '"},
			[]string{"k = 'abc'"},
		},
		{
			"padded", "ma", "k char(10) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci PRIMARY KEY",
			[]string{"'abc'", "'abcd'", "''"},
			"k = 'abc '",
			[]string{"k = 'abcd'", "k = ''"},
			[]string{"k = 'ABC  '", "k = 'abc'"},
		},
		{
			"padded", "pq", "k char(10) PRIMARY KEY",
			[]string{"'abc'", "'abcd'", "''"},
			"k = 'abc'",
			[]string{"k = 'abcd'", "k = ''"},
			[]string{"k = 'abc  '", "k = 'abc'"},
		},
		{
			"padded in any case", "ma", "k varchar(20) CHARACTER SET latin1 COLLATE latin1_swedish_ci PRIMARY KEY",
			[]string{"'abc'", "'abcd'"},
			"k = 'abc '",
			[]string{"k = 'abcd'"},
			[]string{"k = 'ABC   '"},
		},
		{
			"numbers", "mapq", "k decimal(10,4) PRIMARY KEY",
			[]string{"1", "10", "1.0001"},
			"k = 1",
			[]string{"k = 10", "k = 1.0001"},
			[]string{"k = 1.0000", "k = 1.0"},
		},
		{
			"affinity", "s", "k PRIMARY KEY",
			[]string{"1", "'1'", "10", "x'31'"},
			"typeof(k) = 'integer' AND k = 1",
			[]string{"k = 10", "typeof(k) = 'text'", "typeof(k) = 'blob'"},
			[]string{"k = 1.0"},
		},
	}
	onEach(t, func(t *testing.T, s server) {
		bus := embedded(t)
		for _, c := range cases {
			if !strings.Contains(c.servers, letters[s.name]) {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				db := open(t, s, quickly(s.dsn(t)))
				mustExec(t, db, "CREATE TABLE keyed (n int NOT NULL, "+c.key+")")
				for _, v := range c.insert {
					mustExec(t, db, "INSERT INTO keyed VALUES (0, "+v+")")
				}
				update := func(where string) string { return "UPDATE keyed SET n = n + 1 WHERE " + where }
				aborted(t, bus, func(ctx context.Context) error {
					// Nothing is changed first: the locks that follow count all the same.
					if err := execs(db, update("1 = 0"), update(c.hold), update("1 = 0"), update(c.hold))(ctx); err != nil {
						return err
					}
					tx, _ := gtx.FromContext(ctx)
					for _, where := range c.free {
						committed(t, bus, execs(db, update(where)))
					}
					for _, where := range c.taken {
						wantHeld(t, bus, tx.XID(), db, update(where))
					}
					var n int
					if err := db.QueryRow("SELECT count(*) FROM gtx_undo WHERE xid = '" + tx.XID().String() + "'").Scan(&n); err != nil || n != 1 {
						t.Errorf("%d undo rows (%v), want one", n, err)
					}
					return nil
				})
				clean(t, db)
				var n, most int
				if err := db.QueryRow("SELECT SUM(n), MAX(n) FROM keyed").Scan(&n, &most); err != nil || n != len(c.free) || most != 1 {
					t.Errorf("sum %d, largest %d (%v), want %d rows with 1 and the held one with 0", n, most, err, len(c.free))
				}
			})
		}
	})
}

// spelled gives a second DSN for the same database.
func spelled(t *testing.T, s server, dsn string) string {
	t.Helper()
	switch s.family() {
	case "gtx-mysql":
		cfg, err := mysqldriver.ParseDSN(dsn)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Addr = strings.Replace(cfg.Addr, "127.0.0.1", "localhost", 1)
		cfg.ParseTime = true
		return cfg.FormatDSN()
	case "gtx-postgres":
		u, err := url.Parse(dsn)
		if err != nil {
			t.Fatal(err)
		}
		pw, _ := u.User.Password()
		return fmt.Sprintf("host=localhost port=%s user=%s password='%s' dbname=%s sslmode=disable application_name=other", u.Port(), u.User.Username(), pw, strings.TrimPrefix(u.Path, "/"))
	}
	path, query, _ := strings.Cut(strings.TrimPrefix(dsn, "file:"), "?")
	i := strings.LastIndexByte(path, '/')
	return path[:i] + "/." + path[i:] + "?" + query
}

func password(t *testing.T, s server, dsn string) string {
	t.Helper()
	var pw string
	switch s.family() {
	case "gtx-mysql":
		cfg, err := mysqldriver.ParseDSN(dsn)
		if err != nil {
			t.Fatal(err)
		}
		pw = cfg.Passwd
	case "gtx-postgres":
		u, err := url.Parse(dsn)
		if err != nil {
			t.Fatal(err)
		}
		pw, _ = u.User.Password()
	default:
		return "db.sqlite" // it has no password: the path stands for it
	}
	if len(pw) < 8 {
		t.Fatalf("a password of %d letters cannot be looked for", len(pw))
	}
	return pw
}

// natsServer runs a server of its own that everybody may listen to.
func natsServer(t *testing.T) string {
	t.Helper()
	srv, err := natsserver.NewServer(&natsserver.Options{
		JetStream: true, StoreDir: t.TempDir(), SyncAlways: true,
		Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, NoSigs: true, NoLog: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	go srv.Start()
	t.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	if !srv.ReadyForConnections(20 * time.Second) {
		t.Fatal("server is not ready")
	}
	return srv.ClientURL()
}

// TestPeers09ADatabaseIsNotItsDSN: elsewhere the name of a resource is its DSN, so
// passwords travel, and two spellings of one database lock past each other. Here
// two spellings are one resource with one set of locks, and no message and no row
// holds a password, committed, aborted or in conflict.
func TestPeers09ADatabaseIsNotItsDSN(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		log := logged(t)
		at := natsServer(t)
		svc, err := natsbus.Serve(t.Context(), natsbus.ServiceConfig{URL: at, AssumeSyncAlways: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(svc.Stop)
		nc, err := nats.Connect(at)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		var heard struct {
			sync.Mutex
			messages int
			text     strings.Builder
		}
		if _, err := nc.Subscribe(">", func(m *nats.Msg) {
			heard.Lock()
			defer heard.Unlock()
			heard.messages++
			fmt.Fprintf(&heard.text, "%s %v %s\n", m.Subject, m.Header, m.Data)
		}); err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		bus, err := natsbus.Connect(t.Context(), natsbus.Config{URL: at})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { bus.Close() })

		dsn := s.dsn(t)
		one, other := open(t, s, quickly(dsn)), open(t, s, quickly2(spelled(t, s, dsn)))
		before := things(t, one)
		aborted(t, bus, func(ctx context.Context) error {
			if err := execs(one, "UPDATE thing SET n = 11 WHERE id = 1")(ctx); err != nil {
				return err
			}
			tx, _ := gtx.FromContext(ctx)
			wantHeld(t, bus, tx.XID(), other, "UPDATE thing SET n = 12 WHERE id = 1")
			// The own transaction may, by either spelling.
			return execs(other, "UPDATE thing SET n = 13 WHERE id = 1")(ctx)
		})
		clean(t, one)
		wantTable(t, other, before)
		committed(t, bus, execs(other, "UPDATE thing SET n = n WHERE id = 1"))
		if err := bus.Run(t.Context(), execs(other, "UPDATE nowhere SET n = 1")); err == nil || strings.Contains(err.Error(), password(t, s, dsn)) {
			t.Errorf("error with a password, or none: %v", err)
		}
		clean(t, one)
		var ids int
		if err := one.QueryRow("SELECT count(*) FROM gtx_resource").Scan(&ids); err != nil || ids != 1 {
			t.Errorf("%d identities (%v), want one", ids, err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		heard.Lock()
		defer heard.Unlock()
		if heard.messages < 10 {
			t.Errorf("only %d messages were heard", heard.messages)
		}
		pw := password(t, s, dsn)
		if strings.Contains(heard.text.String(), pw) {
			t.Error("a message holds the password")
		}
		if l := log.with(pw); len(l) > 0 {
			t.Errorf("a log line holds the password: %d of them", len(l))
		}
		for _, table := range []string{"gtx_resource", "gtx_branch", "gtx_undo", "gtx_operator"} {
			if text := whole(t, one, table); strings.Contains(text, pw) {
				t.Errorf("%s holds the password", table)
			}
		}
	})
}

// quickly2 is quickly for a DSN of words.
func quickly2(dsn string) string {
	if strings.HasPrefix(dsn, "host=") {
		return dsn + " " + strings.ReplaceAll(quick, "&", " ")
	}
	return quickly(dsn)
}

// whole gives a table as text.
func whole(t *testing.T, db *sql.DB, table string) string {
	t.Helper()
	rows, err := db.Query("SELECT * FROM " + table)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for rows.Next() {
		line, into := make([]sql.NullString, len(columns)), make([]any, len(columns))
		for i := range line {
			into[i] = &line[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&out, line)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}
