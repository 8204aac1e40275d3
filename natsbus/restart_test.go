package natsbus_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/natsbus"
)

// TestO2IdleRestartWaitsForNobody: also a leader without transactions says in the
// log that it has gone, so the next start does not listen for its beats.
func TestO2IdleRestartWaitsForNobody(t *testing.T) {
	url := natsServer(t)
	patient := func(c *natsbus.ServiceConfig) { c.TakeoverAfter = time.Hour }
	service(t, url, patient).Stop()
	began := time.Now()
	ctx, cancel := context.WithTimeout(testContext(t), 30*time.Second)
	defer cancel()
	cfg := serviceConfig(url)
	patient(&cfg)
	next, err := natsbus.Serve(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Stop()
	if !next.Leading() {
		t.Errorf("status %+v", next.Status())
	}
	t.Logf("leads after %v", time.Since(began))
}

// TestIdleStopWithoutLog: nothing is lost with a leader that has no transactions,
// so its end does not wait for a log that cannot be reached.
func TestIdleStopWithoutLog(t *testing.T) {
	url, way := natsServer(t), newLine()
	defer way.release()
	node := service(t, url, func(c *natsbus.ServiceConfig) {
		c.HandoverTime, c.Options = time.Hour, []nats.Option{way.option()}
	})
	way.holdNow()
	ended := make(chan struct{})
	go func() {
		node.Stop()
		close(ended)
	}()
	select {
	case <-ended:
	case <-testContext(t).Done():
		t.Fatal("does not stop")
	}
}
