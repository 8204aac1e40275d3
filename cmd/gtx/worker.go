package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/internal/bank"
)

// workerCommand is started by gtx demo -crash for the process that is killed.
const workerCommand = "demo-worker"

// workerOrder comes as JSON on the worker's standard input, not as arguments:
// DSNs hold passwords. The input then stays open; its end ends the worker, so
// that none survives its parent.
type workerOrder struct {
	From, To string // as parseTarget reads them
	Dir      string
	Name     string
	Accounts int
	Workers  int
	Fail     float64
	Seed     uint64
	Prefix   string
	// CrashAt is which local commit of the first bank, counted from 1, stops
	// between the banks and waits to be killed. The other workers go on.
	CrashAt int64
}

// workerNews is one line of JSON on the worker's standard output.
type workerNews struct {
	// Committed is the ID of a transfer that was told committed.
	Committed string `json:",omitempty"`
	// Between is the ID of the transfer that waits between the local commits.
	Between string  `json:",omitempty"`
	XID     gtx.XID `json:",omitzero"`
	// Problem is why the worker gives up.
	Problem string `json:",omitempty"`
}

// runWorker runs transfers until it is killed.
func runWorker(ctx context.Context, _ []string, std stdio) error {
	signal.Ignore(os.Interrupt) // a terminal's Ctrl-C is for the parent
	in := json.NewDecoder(std.in)
	var order workerOrder
	if err := in.Decode(&order); err != nil {
		return fmt.Errorf("read order (this command is for gtx demo -crash only): %w", err)
	}
	var mu sync.Mutex // one line at a time
	tell := func(n workerNews) {
		line, err := json.Marshal(n)
		if err == nil {
			mu.Lock()
			defer mu.Unlock()
			_, err = std.out.Write(append(line, '\n'))
		}
		if err != nil {
			os.Exit(exitError) // nobody listens any more
		}
	}
	go func() {
		_, _ = io.Copy(io.Discard, std.in)
		os.Exit(exitError)
	}()
	if err := work(ctx, order, std, tell); err != nil {
		tell(workerNews{Problem: err.Error()})
	}
	return nil
}

func work(ctx context.Context, order workerOrder, std stdio, tell func(workerNews)) error {
	d, err := order.demo(std)
	if err != nil {
		return err
	}
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

	var local atomic.Int64
	var tally bank.Tally
	stop := make(chan struct{})
	giveUp := sync.OnceFunc(func() { close(stop) })
	load := bank.Load{
		Bank: b, Coordinator: bus, Transfers: -1, Workers: order.Workers, Fail: order.Fail, Seed: order.Seed, Prefix: order.Prefix,
		Between: func(xid gtx.XID, t bank.Transfer) error {
			if local.Add(1) == order.CrashAt {
				tell(workerNews{Between: t.ID, XID: xid})
				select {} // SIGKILL ends it
			}
			return nil
		},
		Ended: func(t bank.Transfer, err error) {
			if err == nil {
				tell(workerNews{Committed: t.ID})
			} else if tally.Problem() != nil {
				giveUp()
			}
		},
	}
	load.Run(ctx, stop, &tally)
	return tally.Problem()
}

// demo gives what the parent's demo looks like from here.
func (o workerOrder) demo(std stdio) (*demo, error) {
	from, err := parseTarget(o.From)
	if err != nil {
		return nil, err
	}
	to, err := parseTarget(o.To)
	if err != nil {
		return nil, err
	}
	return &demo{std: std, demoOptions: demoOptions{workers: o.Workers, accounts: o.Accounts}, dir: o.Dir, name: o.Name, from: from, to: to}, nil
}
