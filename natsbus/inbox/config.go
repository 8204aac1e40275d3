package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"regexp"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/gtx"
)

// Config of an Inbox. It is copied.
type Config struct {
	// Name tells the consumers of one database apart: each of them handles each message
	// once. 1 to 64 letters, digits, - and _. All processes of one service use one name,
	// and one name is for one Source. Required.
	Name string

	// JetStream is what Consume takes messages from, and where letters to DeadSubject go.
	// Handle needs none where DeadSubject is empty.
	JetStream jetstream.JetStream

	// DeadSubject is where messages that are put aside are published, too; a stream must
	// take it. Empty: they are in the database only.
	DeadSubject string

	// MaxTries is after how many tries that failed, or of which nothing was heard because
	// the process died, a message is put aside. Tries that failed because rows were locked
	// or a coordinator was away do not count. Zero: 20.
	MaxTries int

	// Timeout bounds one try. Zero: 1 minute.
	Timeout time.Duration

	// Wait bounds how long a try waits for another delivery of the same message that is
	// being handled. Zero: 5 s.
	Wait time.Duration

	// Heartbeat is how often Handle tells the server that a message is still being
	// handled: less than half the AckWait of the consumer. Zero: 10 s. Consume knows the
	// AckWait itself.
	Heartbeat time.Duration

	// Keep is how long it is remembered that a message was handled. It must be longer
	// than a sender may take to publish a message again. Zero: 7 days. At least 1 minute.
	Keep time.Duration

	// KeepDead is how long messages that are put aside are kept. Zero: 30 days. At least
	// 1 minute. Negative: for ever.
	KeepDead time.Duration

	// GiveUp, where given, is asked before a message is put aside, with the error of its last
	// try, in the local transaction that would put it aside. True: what it has written there
	// commits in place of the dead letter, the message never takes effect, and Handle gives
	// nil. An error has the message delivered again, and then GiveUp asked again. It is not
	// for replays, whose messages are aside already.
	GiveUp func(ctx context.Context, tx *sql.Tx, m *Message, cause error) (bool, error)

	// Global handles each message in a global transaction (gtx.Run), so that the handler
	// may change several databases with its context. Options are for gtx.Run.
	Global  bool
	Options []gtx.Option

	// Isolation of the local transactions that handlers get. Zero: READ COMMITTED.
	// SQLite has one level, and ignores it.
	Isolation sql.IsolationLevel

	// Context makes the context of a handler, from the headers of its message: where
	// trace context is taken from traceparent. Nil: the context as it is.
	Context func(ctx context.Context, h nats.Header) context.Context

	// Logger for what Consume cannot return. Nil: that of the database.
	Logger *slog.Logger
}

const (
	keepDead = 30 * 24 * time.Hour
	forEver  = math.MaxInt64 // longer than any message is old
)

var nameOK = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func (cfg *Config) fill(sqlite bool) error {
	if !nameOK.MatchString(cfg.Name) {
		return fmt.Errorf("Config.Name %q: want 1 to 64 letters, digits, - and _", cfg.Name)
	}
	if cfg.MaxTries < 0 || cfg.Timeout < 0 || cfg.Wait < 0 || cfg.Heartbeat < 0 || cfg.Keep < 0 {
		return errors.New("a number or a duration of Config is below zero")
	}
	if cfg.DeadSubject != "" && cfg.JetStream == nil {
		return errors.New("Config.DeadSubject is set and Config.JetStream is not")
	}
	if cfg.MaxTries == 0 {
		cfg.MaxTries = 20
	}
	set := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	set(&cfg.Timeout, time.Minute)
	set(&cfg.Wait, 5*time.Second)
	set(&cfg.Heartbeat, 10*time.Second)
	set(&cfg.Keep, 7*24*time.Hour)
	set(&cfg.KeepDead, keepDead)
	if cfg.KeepDead < 0 {
		cfg.KeepDead = forEver
	}
	if min(cfg.Keep, cfg.KeepDead) < time.Minute {
		return fmt.Errorf("Config.Keep %s, KeepDead %s: want at least 1 minute", cfg.Keep, cfg.KeepDead)
	}
	switch {
	case sqlite:
		cfg.Isolation = sql.LevelDefault
	case cfg.Isolation == sql.LevelDefault:
		// Not the database's default: at REPEATABLE READ a reader locks gaps on MySQL, and
		// a second delivery would fail on PostgreSQL in place of seeing the first.
		cfg.Isolation = sql.LevelReadCommitted
	}
	return nil
}
