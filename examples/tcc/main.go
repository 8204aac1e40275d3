// Command tcc books a train: the seat by an action in three parts (Try, Confirm, Cancel), the
// money by ordinary SQL in another database, both in one global transaction. Then a second
// booking fails, and its seat is free again.
//
//	go run ./examples/tcc
//
// It needs nothing but Go: two SQLite files and an embedded coordinator, all in a temporary
// directory.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	_ "github.com/globaltx/globaltx/driver/sqlite"
	"github.com/globaltx/globaltx/examples/internal/stage"
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/tcc"
	"github.com/globaltx/globaltx/natsbus"
)

func main() { stage.Main("tcc", run) }

func run(ctx context.Context, dir string, out io.Writer) (err error) {
	bus, err := natsbus.Embedded(ctx, filepath.Join(dir, "coordinator"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bus.Close()) }()
	gtx.SetDefault(bus)
	defer gtx.SetDefault(nil)

	bank, err := stage.Open(ctx, "gtx-sqlite", dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bank.Close()) }()
	trains, err := sql.Open("gtx-sqlite", filepath.Join(dir, "trains.db")+"?_pragma=busy_timeout(5000)")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, trains.Close()) }()
	if err := timetable(ctx, trains); err != nil {
		return err
	}

	actions, err := tcc.Open(ctx, trains, tcc.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, actions.Close()) }()
	seats, err := tcc.Register(actions, "reserve-seat", reserveSeat{})
	if err != nil {
		return err
	}

	book := func(price int) error {
		return gtx.Run(ctx, func(ctx context.Context) error {
			if err := seats.Try(ctx, seat{Train: 7}); err != nil {
				return err
			}
			if err := show(ctx, out, "  while it is open", trains); err != nil {
				return err
			}
			return pay(ctx, bank.North, price)
		})
	}
	if err := show(ctx, out, "at the start", trains); err != nil {
		return err
	}
	if err := book(30); err != nil {
		return err
	}
	if err := settled(ctx, out, "after a booking for 30", trains); err != nil {
		return err
	}
	if err := book(500); !errors.Is(err, stage.ErrOverdrawn) {
		return fmt.Errorf("a booking for 500: %w", err)
	}
	return settled(ctx, out, "after a booking for 500 has failed", trains)
}

// pay is ordinary SQL: an abort writes the old balance back.
func pay(ctx context.Context, db *sql.DB, price int) error {
	res, err := db.ExecContext(ctx, "UPDATE accounts SET balance = balance - ? WHERE id = 'anna' AND balance >= ?", price, price)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return errors.Join(stage.ErrOverdrawn, err)
	}
	return nil
}

// settled shows the train when Confirm or Cancel has run, which is soon after the decision.
func settled(ctx context.Context, out io.Writer, when string, trains *sql.DB) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		open, err := tcc.List(ctx, trains, 1)
		if err != nil {
			return err
		}
		if len(open) == 0 {
			return show(ctx, out, when, trains)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}
