package postgres

import (
	"context"
	"database/sql"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/lib/pq"

	"github.com/globaltx/globaltx/driver/pgsql"
	"github.com/globaltx/globaltx/undo"
)

// TestPatience: a server takes connections and says nothing. Whoever waits for it hears
// that it is lost, and its connect_timeout stays what it is.
func TestPatience(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		var open []net.Conn
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			open = append(open, c)
		}
		for _, c := range open {
			c.Close()
		}
	})
	defer wg.Wait()
	defer l.Close()
	for _, k := range []struct {
		params   string
		patience time.Duration
		least    time.Duration
	}{
		{"", 50 * time.Millisecond, 50 * time.Millisecond},
		{"&connect_timeout=1", time.Hour, time.Second},
		{"&connect_timeout=1", time.Millisecond, time.Second},
	} {
		c, err := pq.NewConnector("postgres://" + l.Addr().String() + "/x?sslmode=disable" + k.params)
		if err != nil {
			t.Fatal(err)
		}
		c.Dialer(dialer{patience: k.patience})
		db := sql.OpenDB(c)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		began := time.Now()
		_, err = db.ExecContext(ctx, "SELECT 1")
		if d := time.Since(began); (pgsql.Dialect{}).Classify(err) != undo.Lost || d < k.least || ctx.Err() != nil {
			t.Errorf("%+v: %v after %s", k, err, d)
		}
		cancel()
		db.Close()
	}
}
