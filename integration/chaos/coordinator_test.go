package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/gtx/coordinator"
	"github.com/globaltx/globaltx/natsbus"
)

// coordinatorConfig of the role "coordinator".
type coordinatorConfig struct {
	Name      string
	URL       string
	Replicas  int
	TrimBytes int
	Tombstone time.Duration
	// Those below are zero for the defaults.
	PreCommitWait, ClaimWindow, TakeoverAfter time.Duration
}

// coordinatorOrder changes a running coordinator.
type coordinatorOrder struct {
	Clock time.Duration // its wall clock is this much ahead from now on
}

// runCoordinator is a node of the coordinator until SIGTERM, which hands over.
func runCoordinator(ctx context.Context, in *json.Decoder, out *reporter) error {
	var c coordinatorConfig
	if err := in.Decode(&c); err != nil {
		return fmt.Errorf("read config: %w", err)
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()
	var ahead atomic.Int64
	go func() {
		for {
			var o coordinatorOrder
			if in.Decode(&o) != nil {
				os.Exit(1) // the parent has gone
			}
			ahead.Store(int64(o.Clock))
		}
	}()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	cfg := natsbus.ServiceConfig{
		Name: c.Name, URL: c.URL, System: []nats.Option{nats.UserInfo("sys", "sys")}, Replicas: c.Replicas, Logger: log,
		Coordinator: coordinator.Config{
			TrimBytes: c.TrimBytes, Tombstone: c.Tombstone, PreCommitWait: c.PreCommitWait, ClaimWindow: c.ClaimWindow,
		},
		TakeoverAfter: c.TakeoverAfter,
		Now:           func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
	}
	s, err := natsbus.Serve(ctx, cfg)
	for err != nil && ctx.Err() == nil { // as a service manager does
		log.Warn("start", "err", err)
		s, err = natsbus.Serve(ctx, cfg)
	}
	if err != nil {
		return nil // told to end before it began
	}
	out.tell(event{Kind: kindReady})
	for {
		now, changed := s.Watch()
		if now.Role == natsbus.RoleLeader {
			out.tell(event{Kind: kindLeads, N: int64(now.Epoch)})
		}
		select {
		case <-ctx.Done():
			s.Stop()
			return nil
		case <-s.Done():
			return fmt.Errorf("the node has ended by itself: %w", s.Err())
		case <-changed:
		}
	}
}
