package flow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/natsbus/outbox"
)

// Stream is the stream that flows use where Config.Stream names no other.
const Stream = "GTX_FLOW"

// subject is where the messages for a service go.
func subject(name string) string { return "gtx.flow." + name }

// StreamConfig is how Run makes the stream where it is missing: one server, messages kept
// until they are acknowledged. Make it beforehand, with more Replicas, for a cluster.
func StreamConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: Stream, Subjects: []string{subject(">")}, Retention: jetstream.WorkQueuePolicy,
		Storage: jetstream.FileStorage, Replicas: 1,
		Description: "flows of globaltx: messages between services",
	}
}

// Config of a Service. It is copied.
type Config struct {
	// Name of the service among all that use one stream: 1 to 59 letters, digits, - and _.
	// Its processes share it, and one database. Required.
	Name string
	// Outbox of the same database, with a relay here or in another process. Required.
	Outbox *outbox.Outbox
	// JetStream is where Run takes messages from. Start does without.
	JetStream jetstream.JetStream
	// Stream is the name of the stream. Empty: GTX_FLOW, made by Run where it is missing.
	Stream string

	// Resend is how long the sender waits for a service before it asks it again; then
	// twice as long, up to 10 min or this, whichever is longer. Zero: 30 s.
	Resend time.Duration
	// MaxTries is after how many tries that failed a Do has failed for good, and an Undo
	// is shown as stuck. See inbox.Config.MaxTries. Zero: 20.
	MaxTries int
	// Timeout bounds one try. Zero: 1 min.
	Timeout time.Duration
	// Workers is how many messages this process handles at a time. Zero: 8.
	Workers int
	// Keep is how long ended flows, and steps, are remembered. What comes about older
	// ones is refused, so it must be longer than a flow may take with all that can
	// happen; twice Start.Timeout at least. Zero: 30 days.
	Keep time.Duration

	// Context makes the context of Do, Undo and End from the headers of a message: where
	// trace context is taken from traceparent. Nil: the context as it is.
	Context func(ctx context.Context, h nats.Header) context.Context
	// Logger. Nil: that of the database.
	Logger *slog.Logger
}

var nameOK = regexp.MustCompile(`^[A-Za-z0-9_-]{1,59}$`)

// maxResend bounds the pause between two questions of a sender.
const maxResend = 10 * time.Minute

func (cfg *Config) fill() error {
	switch {
	case !nameOK.MatchString(cfg.Name):
		return fmt.Errorf("Config.Name %q: want 1 to 59 letters, digits, - and _", cfg.Name)
	case cfg.Outbox == nil:
		return errors.New("Config.Outbox is not set")
	case cfg.MaxTries < 0 || cfg.Workers < 0 || cfg.Resend < 0 || cfg.Timeout < 0 || cfg.Keep < 0:
		return errors.New("a number or a duration of Config is below zero")
	}
	set := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	set(&cfg.Resend, 30*time.Second)
	set(&cfg.Timeout, time.Minute)
	set(&cfg.Keep, 30*24*time.Hour)
	if cfg.Keep < time.Minute {
		return fmt.Errorf("Config.Keep %s: want at least 1 minute", cfg.Keep)
	}
	if cfg.Stream == "" {
		cfg.Stream = Stream
	}
	return nil
}
