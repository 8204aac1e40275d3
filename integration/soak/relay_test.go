package soak

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/globaltx/globaltx/natsbus/outbox"
)

// sumEvery is how often a process tells its counts. What it has done since, dies with it.
const sumEvery = 100 * time.Millisecond

// relayConfig of the role "relay".
type relayConfig struct {
	URL      string
	Database database
	Bug      string // a key of relayBugs; empty: none
	Dies     bool   // with Bug: in the middle
}

// runRelay publishes what senders leave in the outbox.
func runRelay(ctx context.Context, in *json.Decoder, out *reporter) error {
	var c relayConfig
	if err := in.Decode(&c); err != nil {
		return fmt.Errorf("read config: %w", err)
	}
	obey(in, noOrders)
	nc, js, err := dial(c.URL)
	if err != nil {
		return err
	}
	db, err := c.Database.open(8)
	if err != nil {
		return err
	}
	out.tell(event{Kind: kindReady})
	if c.Bug != "" {
		go relayBugs[c.Bug](ctx, &buggyRelay{db: db, js: js, dies: c.Dies})
		select {}
	}
	var box *outbox.Outbox
	persist(ctx, "open outbox", func(ctx context.Context) (err error) {
		box, err = outbox.Open(ctx, db, outbox.Config{PollInterval: 200 * time.Millisecond})
		return err
	})
	go func() {
		for {
			slog.Warn("relay ends", "err", box.Relay(ctx, nc))
			await(ctx, 100*time.Millisecond)
		}
	}()
	go func() {
		for await(ctx, sumEvery) {
			if st, err := box.Stats(ctx); err == nil {
				out.tell(event{Kind: kindSum, Sum: counts{Published: st.Published, InStream: st.Duplicates}})
			}
		}
	}()
	select {}
}
