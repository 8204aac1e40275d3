package soak

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/natsbus"
)

const (
	stream  = "SOAK"
	durable = "receiver" // name of the inbox
)

// subject of a key. Its second token is the lane.
func subject(key, lanes int) string { return fmt.Sprintf("soak.%d.%d", key%lanes, key) }

func laneFilters(lanes int) (all []string) {
	for i := range lanes {
		all = append(all, fmt.Sprintf("soak.%d.>", i))
	}
	return all
}

// natsConfig of the role "nats".
type natsConfig struct {
	Dir  string
	Port int
}

// runNATS is the server, with JetStream on files.
func runNATS(_ context.Context, in *json.Decoder, out *reporter) error {
	var c natsConfig
	if err := in.Decode(&c); err != nil {
		return fmt.Errorf("read config: %w", err)
	}
	obey(in, noOrders)
	s, err := server.NewServer(&server.Options{
		ServerName: "soak", Host: "127.0.0.1", Port: c.Port, JetStream: true, StoreDir: filepath.Join(c.Dir, "nats"),
		NoSigs: true, LogFile: filepath.Join(c.Dir, "nats-server.log"), Logtime: true,
	})
	if err != nil {
		return err
	}
	s.ConfigureLogger()
	s.Start()
	if !s.ReadyForConnections(startTime) {
		return errors.New("not ready")
	}
	out.tell(event{Kind: kindReady})
	select {}
}

// dial connects now or later, and again whenever the server comes back.
func dial(url string) (*nats.Conn, jetstream.JetStream, error) {
	nc, err := nats.Connect(url, nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1),
		nats.ReconnectWait(100*time.Millisecond), nats.ReconnectJitter(50*time.Millisecond, 0))
	if err != nil {
		return nil, nil, fmt.Errorf("connect to NATS: %w", err)
	}
	js, err := jetstream.New(nc)
	return nc, js, err
}

// coordinatorConfig of the role "coordinator".
type coordinatorConfig struct{ Name, URL string }

// runCoordinator decides the global transactions of the senders. The processes are killed,
// not the machine: what NATS has written it has.
func runCoordinator(ctx context.Context, in *json.Decoder, out *reporter) error {
	var c coordinatorConfig
	if err := in.Decode(&c); err != nil {
		return fmt.Errorf("read config: %w", err)
	}
	obey(in, noOrders)
	var s *natsbus.Service
	for s == nil {
		var err error
		if s, err = natsbus.Serve(ctx, natsbus.ServiceConfig{
			Name: c.Name, URL: c.URL, AssumeSyncAlways: true, Logger: slog.Default(),
			TakeoverAfter: 500 * time.Millisecond, // there is one, which is killed often
		}); err != nil {
			slog.Warn("start coordinator", "err", err)
			await(ctx, 100*time.Millisecond)
		}
	}
	out.tell(event{Kind: kindReady})
	<-s.Done()
	return fmt.Errorf("the coordinator has ended by itself: %w", s.Err())
}
