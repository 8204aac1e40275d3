package outbox

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/driver"
	"github.com/globaltx/globaltx/gtx"
)

// Tx is what Publish writes through: a *sql.Tx, or what an ORM has for one, of the
// database that the Outbox was opened with. A *sql.DB or *sql.Conn does, too: inside
// gtx.Run it makes a branch as for any statement, outside of it the message is published
// at once.
type Tx interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// Outbox is the table of messages of one database. Safe for concurrent use.
type Outbox struct {
	db     *sql.DB
	about  driver.Database
	cfg    Config
	text   text
	log    *slog.Logger
	source gtx.ResourceID
	id     ids
	clock  atomic.Uint64 // microseconds, for SQLite
	noted  atomic.Uint64 // set of slots that Publish has written to since the relay looked
	note   chan struct{} // holds one value when noted is not empty
	count  counters

	stop func() // ends the relay of Config.Conn

	// mu protects the following.
	mu      sync.Mutex
	closed  bool
	relay   *relay
	relayed sync.WaitGroup // the relay of Config.Conn
}

// Open makes the tables where they are missing and, with Config.Conn, starts the relay
// of this process. A driver of this module must have opened db, which stays the
// caller's: Close the Outbox before it.
func Open(ctx context.Context, db *sql.DB, cfg Config) (*Outbox, error) {
	about, err := driver.DatabaseOf(db)
	if err != nil {
		return nil, fmt.Errorf("open outbox: %w", err)
	}
	d := about.Dialect()
	if cfg, err = cfg.settings(d.Name()); err != nil {
		return nil, err
	}
	o := &Outbox{db: db, about: about, cfg: cfg, text: textOf(d), log: cfg.Logger, note: make(chan struct{}, 1), stop: func() {}}
	if o.log == nil {
		o.log = about.Logger()
	}
	if o.source, err = about.Enter(ctx, nil); err != nil {
		return nil, fmt.Errorf("open outbox: %w", err)
	}
	if err := create(ctx, db, d); err != nil {
		return nil, fmt.Errorf("open outbox: %w", err)
	}
	if cfg.Conn == nil {
		return o, nil
	}
	r, err := o.newRelay(ctx, cfg.Conn)
	if err != nil {
		return nil, fmt.Errorf("open outbox: %w", err)
	}
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	o.stop = cancel
	o.relayed.Go(func() {
		if err := r.run(background); err != nil && background.Err() == nil {
			o.log.Error("relay of the outbox has ended", "err", err)
		}
	})
	return o, nil
}

// Source gives the identity of the database, as HeaderSource has it.
func (o *Outbox) Source() gtx.ResourceID { return o.source }

// Close stops the relay of Config.Conn, which ends the batch in its hands: that takes
// no longer than two seconds and Config.PublishTimeout, as long as the database answers.
// Messages that are left are relayed by others, or after the next Open.
func (o *Outbox) Close() error {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	o.stop()
	o.relayed.Wait()
	return nil
}

// Relay publishes the messages of the database on nc until ctx ends, or nc is closed:
// nats.ErrConnectionClosed then. An Outbox has one relay at a time; any number of
// processes may have one.
func (o *Outbox) Relay(ctx context.Context, nc *nats.Conn) error {
	r, err := o.newRelay(ctx, nc)
	if err != nil {
		return err
	}
	return r.run(ctx)
}

// Publish writes a message in tx, the caller's local transaction. The message is
// published when that has committed, or when the global transaction has that it is part
// of, and never when it was rolled back. id names the message to its receivers
// (HeaderID).
//
// Messages of one key arrive in the order of the calls of Publish, where a call began
// after the local transaction of the former had committed, or in the same local
// transaction, or under a row lock that both local transactions take first. Messages of
// local transactions that run beside each other have no order.
//
// The error wraps ErrMessage when the message was refused; others are the database's, and
// the local transaction is what it is after a statement that has failed.
func (o *Outbox) Publish(ctx context.Context, tx Tx, m Message) (id string, err error) {
	if err := m.check(); err != nil {
		return "", err
	}
	var trace map[string]string
	if o.cfg.Inject != nil {
		trace = map[string]string{}
		o.cfg.Inject(ctx, trace)
	}
	now := time.Now()
	id = o.id.next(now)
	_, own := o.ownHeader(id, m.Key)
	header, err := encodeHeader(m.Header, trace, own)
	if err != nil {
		return "", err
	}
	r := row{
		id: id, slot: slotOf(m.Key), pos: o.micros(now),
		subject: m.Subject, key: m.Key, header: []byte(header), body: m.Body,
	}
	_, global := gtx.FromContext(ctx)
	query, args := o.text.insert(&r, !global && len(m.Body) <= literalBody && o.text.Name() != "sqlite")
	if _, err := tx.ExecContext(ctx, query, args...); err != nil {
		return "", fmt.Errorf("insert message into outbox: %w", err)
	}
	o.wake(r.slot)
	return r.id, nil
}

// micros never gives a number twice.
func (o *Outbox) micros(now time.Time) uint64 { return after(&o.clock, uint64(now.UnixMicro())) }

// wake tells the relay that a slot will soon have a message.
func (o *Outbox) wake(slot int) {
	o.noted.Or(1 << slot)
	select {
	case o.note <- struct{}{}:
	default:
	}
}

// wakeAll is for messages of which only the database knows the slot.
func (o *Outbox) wakeAll() {
	for i := range slots {
		o.wake(i)
	}
}

// desk gives the operator's view.
func (o *Outbox) desk() *Desk { return &Desk{o.db, o.text, &o.clock} }

// Dead lists at most limit dead messages, the oldest first.
func (o *Outbox) Dead(ctx context.Context, limit int) ([]Dead, error) {
	return o.desk().Dead(ctx, limit)
}

// Replay gives a dead message back to the relay: see Desk.Replay.
func (o *Outbox) Replay(ctx context.Context, id string) error {
	err := o.desk().Replay(ctx, id)
	if err == nil {
		o.wakeAll()
	}
	return err
}

// begin begins a local transaction of this package's own.
func (o *Outbox) begin(ctx context.Context) (*sql.Tx, error) { return o.desk().begin(ctx) }
