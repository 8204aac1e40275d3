package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/internal/bank"
	"github.com/globaltx/globaltx/natsbus"
)

// settleTime bounds the wait for phase two at the end.
const settleTime = 60 * time.Second

// demo is what both kinds of the demo work on.
type demo struct {
	demoOptions
	std      stdio
	dir      string // decision log, SQLite files
	from, to target
	name     string // prefix of the tables
	begun    bool   // the tables are there: an error keeps everything for a look
}

func runDemo(ctx context.Context, args []string, std stdio) (err error) {
	o, err := parseDemo(args, std.err)
	if err != nil {
		return err
	}
	d, err := newDemo(o, std)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil && d.begun {
			fmt.Fprintf(std.err, "what the demo left is kept: directory %s, tables %s_*\n", d.dir, d.name)
		} else if o.dir == "" {
			err = errors.Join(err, os.RemoveAll(d.dir))
		}
	}()
	// The first signal stops new transfers, a second one the process.
	stopped, restore := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer restore()
	context.AfterFunc(stopped, restore)
	if o.crash {
		return d.crashes(ctx, stopped.Done())
	}
	return d.transfersOnce(ctx, stopped.Done())
}

func newDemo(o demoOptions, std stdio) (_ *demo, err error) {
	var random [12]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, err
	}
	if o.seed == 0 {
		o.seed = binary.LittleEndian.Uint64(random[4:])
	}
	d := &demo{demoOptions: o, std: std, name: "gtx_demo_" + hex.EncodeToString(random[:4])}
	pick := func(dsn, file string) (target, error) {
		if dsn == "" {
			return fileTarget(filepath.Join(d.dir, file))
		}
		return parseTarget(dsn)
	}
	for _, dsn := range []string{o.from, o.to} { // before anything is made
		if _, err := parseTarget(dsn); dsn != "" && err != nil {
			return nil, err
		}
	}
	if d.dir = o.dir; d.dir == "" {
		d.dir, err = os.MkdirTemp("", "gtx-demo-")
	} else if d.dir, err = filepath.Abs(d.dir); err == nil {
		err = os.MkdirAll(d.dir, 0o700)
	}
	if err != nil {
		return nil, err
	}
	if d.from, err = pick(o.from, "from.db"); err != nil {
		return nil, err
	}
	if d.to, err = pick(o.to, "to.db"); err != nil {
		return nil, err
	}
	return d, nil
}

// openBank opens both databases; global: for global transactions.
func (d *demo) openBank(global bool) (b *bank.Bank, closeAll func(), err error) {
	from, err := d.from.open(global, d.workers)
	if err != nil {
		return nil, nil, err
	}
	to, err := d.to.open(global, d.workers)
	if err != nil {
		return nil, nil, errors.Join(err, from.DB.Close())
	}
	closeAll = func() {
		_ = from.DB.Close()
		_ = to.DB.Close()
	}
	b, err = bank.New(bank.Config{From: from, To: to, Name: d.name, Accounts: d.accounts})
	if err != nil {
		closeAll()
	}
	return b, closeAll, err
}

func (d *demo) create(ctx context.Context, b *bank.Bank) error {
	if err := b.Create(ctx); err != nil {
		_ = b.Drop(ctx) // where it fails, too, there is nothing to drop
		return err
	}
	d.begun = true
	return nil
}

// openBus starts the coordinator and makes it the default, which is how phase
// two finds it for leftovers of an earlier process.
func (d *demo) openBus(ctx context.Context) (*natsbus.Bus, func(), error) {
	logger := slog.New(slog.NewTextHandler(d.std.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	bus, err := natsbus.Embedded(ctx, filepath.Join(d.dir, "decisions"), natsbus.WithLogger(logger))
	if err != nil {
		return nil, nil, err
	}
	gtx.SetDefault(bus)
	return bus, func() {
		gtx.SetDefault(nil)
		bus.Close()
	}, nil
}

// transfersOnce is the demo without crashes.
func (d *demo) transfersOnce(ctx context.Context, stop <-chan struct{}) error {
	fmt.Fprintf(d.std.out, "%d transfers by %d workers, %d accounts in each bank, %s fail between the local commits\n  from  %s\n  to    %s\n",
		d.transfers, d.workers, d.accounts, d.fail.String(), d.from.show, d.to.show)
	bus, closeBus, err := d.openBus(ctx)
	if err != nil {
		return err
	}
	defer closeBus()
	b, closeBank, err := d.openBank(true)
	if err != nil {
		return err
	}
	defer closeBank()
	if err := d.create(ctx, b); err != nil {
		return err
	}

	var tally bank.Tally
	load := bank.Load{Bank: b, Coordinator: bus, Transfers: d.transfers, Workers: d.workers, Fail: float64(d.fail), Seed: d.seed, Prefix: "t"}
	p, done, shown := newProgress(d.std.out, d.transfers), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(shown)
		p.watch(tally.Counts, done)
	}()
	begin := time.Now()
	load.Run(ctx, stop, &tally)
	took := time.Since(begin)
	close(done)
	<-shown
	select {
	case <-stop:
		fmt.Fprintln(d.std.out, "stopped: no more transfers, finishing")
	default:
	}
	settled, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	if err := tally.AskUnknown(settled, bus); err != nil {
		return err
	}
	d.reportTransfers(&tally, took)
	if err := d.verify(settled, b, tally.Log(), tally.Outcomes()); err != nil {
		return err
	}
	if c := tally.Counts(); c.Committed == 0 && c.Ended() > c.Refused {
		return fmt.Errorf("no transfer was committed; the last error: %w", tally.Problem())
	}
	return nil
}

// verify waits until nothing is left, proves the invariants, and cleans up when
// they hold.
func (d *demo) verify(ctx context.Context, b *bank.Bank, log uint64, outcomes map[string]gtx.Status) error {
	left, err := b.AwaitNone(ctx, log, nil)
	fmt.Fprintf(d.std.out, "left       %s\n", left)
	if err != nil {
		return err
	}
	money, err := b.Check(ctx, outcomes)
	fmt.Fprintf(d.std.out, "money      %d before, %d after\n", money.Before, money.After)
	if err != nil {
		return err
	}
	fmt.Fprintln(d.std.out, "traces     every transfer stands in both banks or in none, as was told")
	return b.Drop(ctx)
}

func (d *demo) reportTransfers(t *bank.Tally, took time.Duration) {
	c, w := t.Counts(), d.std.out
	fmt.Fprintf(w, "committed  %d in %.1f s, %.0f/s\n", c.Committed, took.Seconds(), float64(c.Committed)/took.Seconds())
	fmt.Fprintf(w, "aborted    %d (%d refused on purpose, %d without funds, %d lost a conflict, %d for other reasons)\n",
		c.Aborted, c.Refused, c.Funds, c.Conflicts, c.Unexpected())
	fmt.Fprintf(w, "undone     %d local commits of the first bank; %d tries repeated after a conflict\n", c.Undone, c.Retried)
	fmt.Fprintf(w, "latency    p50 %s, p99 %s\n", t.Percentile(0.5).Round(10*time.Microsecond), t.Percentile(0.99).Round(10*time.Microsecond))
	if err := t.Problem(); err != nil {
		fmt.Fprintf(w, "other      %v\n", err)
	}
}
