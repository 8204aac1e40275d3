package postgres

import (
	"database/sql"
	"net"
	"testing"
	"time"
)

// TestOpenIsLazy: what is wrong in a DSN is told when lib/pq tells it, by the first
// connection, and in its words.
func TestOpenIsLazy(t *testing.T) {
	for _, dsn := range []string{"client_encoding=SQL_ASCII", "datestyle='ISO, YDM'", "port=x"} {
		base, err := sql.Open("postgres", dsn)
		if err != nil {
			t.Fatalf("%s: %v", dsn, err)
		}
		ours, err := sql.Open("gtx-postgres", dsn)
		if err != nil {
			t.Fatalf("%s: %v", dsn, err)
		}
		want, got := base.Ping(), ours.Ping()
		if want == nil || got == nil || want.Error() != got.Error() {
			t.Errorf("%s: got %v, want %v", dsn, got, want)
		}
		base.Close()
		ours.Close()
	}
}

// TestCloseWithoutServer: with target_session_attrs=prefer-standby lib/pq would try for
// ever to reach a server that is gone, and Close wait for the look for leftovers.
func TestCloseWithoutServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	base, err := Open("postgres://x@" + addr + "/x?sslmode=disable&target_session_attrs=prefer-standby")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		db := sql.OpenDB(base.Resolver)
		defer db.Close()
		done <- db.PingContext(t.Context())
	}()
	select {
	case err := <-done:
		if err == nil {
			t.Error("connected to a server that is gone")
		}
	case <-time.After(20 * time.Second):
		t.Error("still trying to connect")
	}
}
