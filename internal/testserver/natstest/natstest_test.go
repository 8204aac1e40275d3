package natstest_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/globaltx/globaltx/internal/testserver/natstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A cut leader keeps its clients and loses the others: they elect one of their
// own, and take it back when the link is whole again.
func TestCutLeaderIsReplacedAndComesBack(t *testing.T) {
	c := natstest.Start(t, 3)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	nc, err := nats.Connect(c.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, Replicas: 3}); err != nil {
		t.Fatal(err)
	}
	old := c.Leader("S")
	old.Cut()
	if now := c.Leader("S"); now == old {
		t.Fatalf("%s leads although it is cut off", now.Name)
	}
	old.Heal()
	c.WaitCurrent("S")
	old.Stop()
	c.Leader("S")
	old.Restart()
	c.WaitCurrent("S")
	if _, err := js.Publish(ctx, "s", nil); err != nil {
		t.Fatal(err)
	}
}
