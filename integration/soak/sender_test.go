package soak

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/natsbus"
	"github.com/globaltx/globaltx/natsbus/outbox"
)

// keyGroup is how many keys each way of sending has. A key has one way only: between the
// local commit and the decision of mode AT a plain local transaction is kept out by nobody.
const keyGroup = 24

// Ways of sending, and the first keys of each.
const (
	wayPlain = iota // local transaction
	wayAT           // global transactions
	wayXA
	ways
)

// senderConfig of the role "sender".
type senderConfig struct {
	Number   uint64 // of the process; ids of its messages begin with it
	URL      string
	Database database
	Workers  int // of plain local transactions
	Lanes    int
	Seed     uint64
	Go       bool   // send at once
	Plain    bool   // no global transactions: there is no coordinator
	Limit    uint64 // messages of this process. Zero: none
}

// Orders for a sender.
const (
	orderGo    = "go"
	orderPause = "pause"
	orderStop  = "stop" // for good
)

const (
	maxPerTx  = 4    // messages in one transaction
	backShare = 0.08 // of transactions that are rolled back
)

var errBack = errors.New("rolled back on purpose")

// sender sends messages.
type sender struct {
	c    senderConfig
	db   *sql.DB
	box  *outbox.Outbox
	out  *reporter
	last atomic.Uint64 // message of this process
	gate gate
	bus  *natsbus.Bus
}

// runSender sends as its parent orders, and serves phase two until it is killed.
func runSender(ctx context.Context, in *json.Decoder, out *reporter) error {
	s := &sender{out: out}
	if err := in.Decode(&s.c); err != nil {
		return fmt.Errorf("read config: %w", err)
	}
	s.gate.set(s.c.Go, false)
	obey(in, func(order string) { s.gate.set(order == orderGo, order == orderStop) })
	var err error
	if s.db, err = s.c.Database.open(6*s.c.Workers + 6); err != nil {
		return err
	}
	persist(ctx, "open outbox", func(ctx context.Context) (err error) {
		s.box, err = outbox.Open(ctx, s.db, outbox.Config{})
		return err
	})
	var all sync.WaitGroup
	for i := range s.c.Workers {
		all.Go(func() { s.work(ctx, wayPlain, uint64(i)) })
	}
	all.Go(func() {
		if s.c.Plain {
			return
		}
		s.join(ctx)
		var global sync.WaitGroup
		for i := range s.c.Workers {
			global.Go(func() { s.work(ctx, wayAT, 100+uint64(i)) })
			if s.c.Database.Driver != "sqlite" {
				global.Go(func() { s.work(ctx, wayXA, 200+uint64(i)) })
			}
		}
		global.Wait()
	})
	out.tell(event{Kind: kindReady})
	all.Wait()
	out.tell(event{Kind: kindQuiet})
	select {} // phase two goes on
}

// join reaches the coordinator, and takes part in a global transaction: from then on this
// process ends branches that others have left.
func (s *sender) join(ctx context.Context) {
	persist(ctx, "join the coordinator", func(ctx context.Context) (err error) {
		if s.bus == nil {
			if s.bus, err = natsbus.Connect(ctx, natsbus.Config{URL: s.c.URL}); err != nil {
				return err
			}
		}
		return gtx.Run(ctx, func(ctx context.Context) error {
			_, err := s.db.ExecContext(ctx, fmt.Sprintf("INSERT INTO soak_key (k, seq) VALUES (-%d, 0)", s.c.Number))
			return err
		}, gtx.WithCoordinator(s.bus))
	})
}

// work sends one transaction after the other.
func (s *sender) work(ctx context.Context, way int, n uint64) {
	random := rand.New(rand.NewPCG(s.c.Seed, n))
	for s.gate.open() && (s.c.Limit == 0 || s.last.Load() < s.c.Limit) {
		ids := make([]uint64, 1+random.IntN(maxPerTx))
		for i := range ids {
			ids[i] = s.c.Number<<32 | s.last.Add(1)
		}
		key := way*keyGroup + random.IntN(keyGroup)
		back := random.Float64() < backShare
		var err error
		if way == wayPlain {
			err = s.local(ctx, key, ids, back, s.c.Database.isolation())
		} else {
			err = gtx.Run(ctx, func(ctx context.Context) error { return s.local(ctx, key, ids, back, nil) },
				gtx.WithCoordinator(s.bus), gtx.WithMode(map[int]gtx.Mode{wayAT: gtx.AT, wayXA: gtx.XA}[way]), gtx.WithTimeout(5*time.Second))
		}
		switch {
		case err == nil:
			s.out.tell(event{Kind: kindSent, IDs: ids, Way: way})
		case errors.Is(err, errBack) && !errors.Is(err, gtx.ErrUnknown):
			s.out.tell(event{Kind: kindBack, IDs: ids})
		default:
			slog.Warn("send", "way", way, "err", err) // nobody knows what became of it
			await(ctx, 50*time.Millisecond)
		}
	}
}

// local sends the messages in one local transaction, which is rolled back with errBack
// when it is to be.
func (s *sender) local(ctx context.Context, key int, ids []uint64, back bool, level *sql.TxOptions) error {
	tx, err := s.db.BeginTx(ctx, level)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer tx.Rollback()
	if err := s.put(ctx, tx, key, ids); err != nil {
		return err
	}
	if back {
		return errBack
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// put takes numbers of the key under its row lock, and writes business rows and messages.
func (s *sender) put(ctx context.Context, tx *sql.Tx, key int, ids []uint64) error {
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("UPDATE soak_key SET seq = seq + %d WHERE k = %d", len(ids), key)); err != nil {
		return fmt.Errorf("take numbers: %w", err)
	}
	var seq int64
	if err := tx.QueryRowContext(ctx, fmt.Sprintf("SELECT seq FROM soak_key WHERE k = %d", key)).Scan(&seq); err != nil {
		return fmt.Errorf("read numbers: %w", err)
	}
	seq -= int64(len(ids))
	rows := make([]string, len(ids))
	for i, id := range ids {
		rows[i] = fmt.Sprintf("(%d, %d, %d)", id, key, seq+int64(i)+1)
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO soak_sent (id, k, seq) VALUES "+strings.Join(rows, ", ")); err != nil {
		return fmt.Errorf("insert business rows: %w", err)
	}
	for i, id := range ids {
		m := message{id, key, seq + int64(i) + 1}
		if _, err := s.box.Publish(ctx, tx, outbox.Message{Subject: subject(key, s.c.Lanes), Key: fmt.Sprint("k", key), Body: m.encode()}); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
	}
	return nil
}

// gate is what the parent orders. The zero gate is closed.
type gate struct {
	mu      sync.Mutex // protects the following
	goes    bool
	stopped bool
	changed chan struct{}
}

func (g *gate) set(goes, stopped bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.goes, g.stopped = goes, stopped || g.stopped
	if g.changed != nil {
		close(g.changed)
		g.changed = nil
	}
}

// open waits until there is to be more, and tells false when never any more.
func (g *gate) open() bool {
	for {
		g.mu.Lock()
		goes, stopped := g.goes, g.stopped
		if g.changed == nil {
			g.changed = make(chan struct{})
		}
		changed := g.changed
		g.mu.Unlock()
		if stopped {
			return false
		}
		if goes {
			return true
		}
		<-changed
	}
}
