package integration

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/globaltx/globaltx/gtx"
)

// turns is a loopback relay that counts round trips: how often the client
// speaks after the server has spoken.
type turns struct {
	addr string
	stop func()

	// mu protects the following.
	mu sync.Mutex
	n  int
}

func (w *turns) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.n
}

func relay(t *testing.T, to string) *turns {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &turns{addr: l.Addr().String()}
	var wg sync.WaitGroup
	var conns sync.Map
	wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				client.Close()
				return
			}
			conns.Store(client, true)
			conns.Store(server, true)
			serverSpoke := true
			turn := func(fromClient bool) {
				w.mu.Lock()
				defer w.mu.Unlock()
				if fromClient && serverSpoke {
					w.n++
				}
				serverSpoke = !fromClient
			}
			pipe := func(dst, src net.Conn, fromClient bool) {
				buf := make([]byte, 64<<10)
				for {
					n, err := src.Read(buf)
					if n > 0 {
						turn(fromClient)
						if _, err := dst.Write(buf[:n]); err != nil {
							break
						}
					}
					if err != nil {
						break
					}
				}
				dst.Close()
				src.Close()
			}
			wg.Go(func() { pipe(server, client, true) })
			wg.Go(func() { pipe(client, server, false) })
		}
	})
	w.stop = func() {
		l.Close()
		conns.Range(func(c, _ any) bool { c.(io.Closer).Close(); return true })
		wg.Wait()
	}
	t.Cleanup(w.stop)
	return w
}

// through gives the DSN with its address replaced by a relay's, for the user's
// connections; phase two keeps the direct one.
func through(t *testing.T, s server, dsn string) (string, *turns) {
	t.Helper()
	if s.driver == "gtx-mysql" {
		cfg, err := mysql.ParseDSN(dsn)
		if err != nil {
			t.Fatal(err)
		}
		w := relay(t, cfg.Addr)
		cfg.Net, cfg.Addr = "tcp", w.addr
		return cfg.FormatDSN(), w
	}
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	w := relay(t, u.Host)
	u.Host = w.addr
	return u.String(), w
}

// TestRoundTrips counts what one UPDATE by key in a local transaction costs on the
// wire, against the bare driver: no more than without us.
func TestRoundTrips(t *testing.T) {
	for _, s := range servers()[1:] {
		t.Run(s.name, func(t *testing.T) {
			bus := embedded(t)
			dsn := s.dsn(t)
			direct := open(t, s, dsn)
			mustExec(t, direct, "CREATE TABLE thing (id bigint PRIMARY KEY, n bigint NOT NULL, s varchar(100))")
			mustExec(t, direct, "INSERT INTO thing VALUES (1, 1, 'a')")
			relayed, w := through(t, s, dsn+separator(dsn)+"gtx_scan_interval=1h")
			plain, err := sql.Open(map[string]string{"gtx-mysql": "mysql", "gtx-postgres": "postgres"}[s.driver], withoutGTX(relayed))
			if err != nil {
				t.Fatal(err)
			}
			defer plain.Close()
			plain.SetMaxOpenConns(1)
			ours, err := sql.Open(s.driver, relayed)
			if err != nil {
				t.Fatal(err)
			}
			defer ours.Close()
			ours.SetMaxOpenConns(1)

			update := func(ctx context.Context, db *sql.DB) error {
				tx, err := db.BeginTx(ctx, nil)
				if err != nil {
					return err
				}
				if _, err := tx.ExecContext(ctx, "UPDATE thing SET n = n + 1 WHERE id = 1"); err != nil {
					return err
				}
				return tx.Commit()
			}
			// Phase two's own connections speak through the relay, too: abort is
			// local to the database, so only what happens inside fn is counted.
			measured := 0
			for range 3 { // the first ones open connections and fill caches
				if err := gtx.Run(t.Context(), func(ctx context.Context) error {
					from := w.count()
					err := update(ctx, ours)
					measured = w.count() - from
					return err
				}, gtx.WithCoordinator(bus)); err != nil {
					t.Fatal(err)
				}
				clean(t, direct)
			}
			var bare int
			for range 3 {
				from := w.count()
				if err := update(t.Context(), plain); err != nil {
					t.Fatal(err)
				}
				bare = w.count() - from
			}
			t.Logf("%s: BEGIN, UPDATE, COMMIT: bare %d round trips, inside a global transaction %d", s.name, bare, measured)
			if measured > bare {
				t.Errorf("%d round trips, the bare driver needs %d", measured, bare)
			}
		})
	}
}

func separator(dsn string) string {
	for _, r := range dsn {
		if r == '?' {
			return "&"
		}
	}
	return "?"
}

func withoutGTX(dsn string) string {
	for i := range dsn {
		if i+len("gtx_scan_interval=1h") <= len(dsn) && dsn[i:i+len("gtx_scan_interval=1h")] == "gtx_scan_interval=1h" {
			return dsn[:i-1] + dsn[i+len("gtx_scan_interval=1h"):]
		}
	}
	return fmt.Sprint(dsn)
}
