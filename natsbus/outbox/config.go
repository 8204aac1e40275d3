package outbox

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
)

// Config is what Open may be told. The zero value is sane: an Outbox that publishes, and
// leaves relaying to other processes or to Relay.
type Config struct {
	// Conn, where given, is what the relay of this process publishes on, from Open to
	// Close. Its owner closes it, after the Outbox.
	Conn *nats.Conn
	// PollInterval is how often the relay looks for messages that it was not told of:
	// those of other processes. Zero: 1 s. Messages of this process are looked for within
	// milliseconds.
	PollInterval time.Duration
	// Workers is how many batches the relay has in hand at a time, each with one
	// connection of the database. Zero: 2, and 1 for SQLite.
	Workers int
	// Batch is how many messages a worker takes at a time. Zero: 512.
	Batch int
	// PublishTimeout bounds the wait for a stream to acknowledge, 5 min at most. Zero: 5 s. The stream's
	// duplicate window must be longer than 5 s plus this; JetStream's default is 2 min.
	PublishTimeout time.Duration
	// DeadSubject is where a message that no stream takes is published, too, with its error
	// in its headers (HeaderDeadError …), and without what makes it too large. A stream
	// should take it: until one does, the letters wait in the outbox, and nothing else does
	// because of them. Empty: dead messages are in the database only.
	DeadSubject string
	// KeepDead is how long dead messages are kept, at least 1 min. Zero: 30 days.
	// Negative: for ever.
	KeepDead time.Duration
	// Inject puts the trace context of ctx into header, as W3C names it (traceparent,
	// tracestate). With OpenTelemetry:
	//
	//	func(ctx context.Context, header map[string]string) {
	//		otel.GetTextMapPropagator().Inject(ctx, propagation.MapCarrier(header))
	//	}
	//
	// Nil: messages carry none. It is called by Publish.
	Inject func(ctx context.Context, header map[string]string)
	// Logger. Nil: that of the database.
	Logger *slog.Logger
}

// settings fills the defaults.
func (c Config) settings(dialect string) (Config, error) {
	if c.PollInterval < 0 || c.Workers < 0 || c.Batch < 0 || c.PublishTimeout < 0 {
		return c, fmt.Errorf("open outbox: PollInterval %s, Workers %d, Batch %d, PublishTimeout %s: want none below zero",
			c.PollInterval, c.Workers, c.Batch, c.PublishTimeout)
	}
	if c.PublishTimeout > longestLease/2 {
		return c, fmt.Errorf("open outbox: PublishTimeout %s: want at most %s", c.PublishTimeout, longestLease/2)
	}
	if c.KeepDead > 0 && c.KeepDead < time.Minute {
		return c, fmt.Errorf("open outbox: KeepDead %s: want at least 1 minute", c.KeepDead)
	}
	if why := badSubject(c.DeadSubject); c.DeadSubject != "" && why != "" {
		return c, fmt.Errorf("open outbox: DeadSubject %.100q %s", c.DeadSubject, why)
	}
	if c.PollInterval == 0 {
		c.PollInterval = time.Second
	}
	if c.Workers == 0 {
		c.Workers = 2
		if dialect == "sqlite" { // whose writers wait for each other
			c.Workers = 1
		}
	}
	if c.Batch == 0 {
		c.Batch = 512
	}
	if c.PublishTimeout == 0 {
		c.PublishTimeout = 5 * time.Second
	}
	if c.KeepDead == 0 {
		c.KeepDead = 30 * 24 * time.Hour
	}
	return c, nil
}
