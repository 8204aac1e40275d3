package messages

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/natsbus/outbox"
)

// relayEnv makes this program a relay and nothing else: driver, DSN and URL of NATS.
const relayEnv = "GTX_TEST_RELAY_"

func init() {
	if name := os.Getenv(relayEnv + "DRIVER"); name != "" {
		err := relayForEver(name, os.Getenv(relayEnv+"DSN"), os.Getenv(relayEnv+"NATS"))
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func relayForEver(name, dsn, url string) error {
	nc, err := nats.Connect(url)
	if err != nil {
		return err
	}
	db, err := sql.Open(name, dsn)
	if err != nil {
		return err
	}
	o, err := outbox.Open(context.Background(), db, impatient(nil))
	if err != nil {
		return err
	}
	return o.Relay(context.Background(), nc)
}

// relayProcess starts a relay that only kill -9 ends.
func relayProcess(t *testing.T, s server, dsn, url string) *exec.Cmd {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), relayEnv+"DRIVER="+s.driver, relayEnv+"DSN="+dsn, relayEnv+"NATS="+url)
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill() // it may have been
		_ = c.Wait()
	})
	return c
}

// TestOutboxProcessKilled kills the processes that relay, again and again, while others
// publish, in global transactions too, of which every third aborts.
func TestOutboxProcessKilled(t *testing.T) {
	t.Parallel()
	bus := embedded(t)
	const keys, each, kills = 5, 60, 3
	onEach(t, func(t *testing.T, s server) {
		t.Parallel()
		m, dsn := newMail(t), s.dsn(t)
		db := open(t, s, dsn)
		o := openBox(t, db, outbox.Config{})
		var over []<-chan struct{}
		doomed := make(chan *exec.Cmd, kills)
		for n := range kills {
			over = append(over, m.at(t, 20+n*100, func() { _ = (<-doomed).Process.Kill() }))
		}
		doomed <- relayProcess(t, s, dsn, m.node.URL())
		var all sync.WaitGroup
		want := map[string]int{}
		for k := range keys {
			key := fmt.Sprintf("k%d", k)
			want[key] = each
			all.Go(func() { publishKey(t, db, o, bus, key, each) })
		}
		for n, done := range over {
			if n < kills-1 {
				doomed <- relayProcess(t, s, dsn, m.node.URL())
			}
			select {
			case <-done:
			case <-time.After(time.Minute):
				t.Fatal("the relay was not killed for a minute")
			}
		}
		relayProcess(t, s, dsn, m.node.URL())
		all.Wait()
		drained(t, o)
		ordered(t, m, want)
	})
}

// publishKey publishes n messages of a key, every second one in a global transaction, and
// between them some that abort.
func publishKey(t *testing.T, db *sql.DB, o *outbox.Outbox, bus gtx.Coordinator, key string, n int) {
	for i := 1; i <= n; i++ {
		m := outbox.Message{Subject: "box." + key, Key: key, Body: fmt.Append(nil, key, " ", i)}
		put := func(ctx context.Context) error {
			_, err := o.Publish(ctx, db, m)
			return err
		}
		if i%3 == 0 {
			if err := gtx.Run(t.Context(), func(ctx context.Context) error {
				if err := put(ctx); err != nil {
					return err
				}
				return errNo
			}, gtx.WithCoordinator(bus)); err == nil {
				t.Error("an aborted transaction has no error")
			}
		}
		run := put
		if i%2 == 0 {
			run = func(ctx context.Context) error { return gtx.Run(ctx, put, gtx.WithCoordinator(bus)) }
		}
		if err := run(t.Context()); err != nil {
			t.Errorf("publish %s %d: %v", key, i, err)
			return
		}
	}
}
