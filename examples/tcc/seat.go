package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/tcc"
)

// seat is the argument of the action. It is stored until Confirm or Cancel has run.
type seat struct{ Train int }

// reserveSeat holds a free seat, and then sells it or lets go of it.
type reserveSeat struct{}

var _ tcc.Action[seat] = reserveSeat{}

var errFull = errors.New("no seat is free")

// Try runs inside gtx.Run.
func (reserveSeat) Try(ctx context.Context, tx tcc.Tx, s seat) error {
	return change(ctx, tx, "UPDATE trains SET free = free - 1, held = held + 1 WHERE id = ? AND free > 0", s)
}

// Confirm runs when the transaction has committed, in any process that registers the action.
func (reserveSeat) Confirm(ctx context.Context, tx tcc.Tx, s seat) error {
	return change(ctx, tx, "UPDATE trains SET held = held - 1, sold = sold + 1 WHERE id = ?", s)
}

// Cancel runs when it has aborted.
func (reserveSeat) Cancel(ctx context.Context, tx tcc.Tx, s seat) error {
	return change(ctx, tx, "UPDATE trains SET held = held - 1, free = free + 1 WHERE id = ?", s)
}

func change(ctx context.Context, tx tcc.Tx, text string, s seat) error {
	res, err := tx.ExecContext(ctx, text, s.Train)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return errors.Join(errFull, err)
	}
	return nil
}

func timetable(ctx context.Context, db *sql.DB) error {
	for _, text := range []string{
		"CREATE TABLE trains (id INTEGER PRIMARY KEY, free INTEGER NOT NULL, held INTEGER NOT NULL, sold INTEGER NOT NULL)",
		"INSERT INTO trains VALUES (7, 2, 0, 0)",
	} {
		if _, err := db.ExecContext(ctx, text); err != nil {
			return fmt.Errorf("make timetable: %w", err)
		}
	}
	return nil
}

// show prints what everybody sees.
func show(ctx context.Context, out io.Writer, when string, db *sql.DB) error {
	var free, held, sold int
	err := db.QueryRowContext(gtx.Detach(ctx), "SELECT free, held, sold FROM trains WHERE id = 7").Scan(&free, &held, &sold)
	if err != nil {
		return fmt.Errorf("read timetable: %w", err)
	}
	_, err = fmt.Fprintf(out, "%s: %d free, %d held, %d sold\n", when, free, held, sold)
	return err
}
