package flow

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/globaltx/globaltx/natsbus/outbox"
	"github.com/globaltx/globaltx/undo"
)

type outboxMessage = outbox.Message

// store is the SQL of flows in one database.
type store struct {
	db *sql.DB
	d  undo.Dialect
	n  names
}

// querier is a *sql.DB or a *sql.Tx.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func now() int64 { return time.Now().UnixMicro() }

// text names the tables {flow}, {to} and {step}, and writes the dialect's markers.
func (s *store) text(query string) string {
	return undo.Markers(s.d, strings.NewReplacer("{flow}", s.n.flow, "{to}", s.n.to, "{step}", s.n.step).Replace(query))
}

// exec gives how many rows were changed. MySQL does not count a row that is as before.
func (s *store) exec(ctx context.Context, q querier, what, query string, args ...any) (int, error) {
	res, err := q.ExecContext(ctx, s.text(query), args...)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	return int(n), nil
}

// forUpdate locks the row of a query. SQLite has one lock, and this package's transactions
// write before they read.
func (s *store) forUpdate() string {
	if s.d.Name() == "sqlite" {
		return ""
	}
	return " FOR UPDATE"
}

// begin is for work outside the inbox. Not at REPEATABLE READ, where MySQL locks gaps.
func (s *store) begin(ctx context.Context) (*sql.Tx, error) {
	var o sql.TxOptions
	if s.d.Name() != "sqlite" {
		o.Isolation = sql.LevelReadCommitted
	}
	tx, err := s.db.BeginTx(ctx, &o)
	if err != nil {
		return nil, fmt.Errorf("begin local transaction: %w", err)
	}
	return tx, nil
}

// addStep inserts the row of a step, and tells false where it has one. A row that another
// local transaction has inserted and not committed is waited for.
func (s *store) addStep(ctx context.Context, tx *sql.Tx, consumer string, e *envelope, state State, cause string) (bool, error) {
	query := "INSERT INTO {step} (consumer, flow, sender, kind, state, error, began, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
	if s.d.Name() != "mysql" {
		// A duplicate key would end the transaction on PostgreSQL.
		query += " ON CONFLICT (consumer, flow) DO NOTHING"
	}
	n, err := s.exec(ctx, tx, "insert step", query, consumer, e.id, e.sender, e.kind, int(state), cause, e.began, now())
	if err != nil && s.d.Classify(err) == undo.Duplicate {
		return false, nil
	}
	return n == 1, err
}

// stepState reads a step; Waiting where it has no row.
func (s *store) stepState(ctx context.Context, q querier, consumer, id string) (state State, cause string, err error) {
	err = q.QueryRowContext(ctx, s.text("SELECT state, error FROM {step} WHERE consumer = ? AND flow = ?"), consumer, id).Scan(&state, &cause)
	if errors.Is(err, sql.ErrNoRows) {
		return Waiting, "", nil
	}
	if err != nil {
		return Waiting, "", fmt.Errorf("read step: %w", err)
	}
	return state, cause, nil
}

// lockFlow locks a flow that a service has started, or gives ErrNotFound.
func (s *store) lockFlow(ctx context.Context, tx *sql.Tx, id string) (*Flow, error) {
	return s.readFlow(ctx, tx, id, s.forUpdate())
}

const flowColumns = "id, sender, kind, state, error, began, deadline, ended, end_error, header, body"

func (s *store) readFlow(ctx context.Context, q querier, id, tail string) (*Flow, error) {
	f := &Flow{}
	var began, deadline, ended int64
	var header []byte
	err := q.QueryRowContext(ctx, s.text("SELECT "+flowColumns+" FROM {flow} WHERE id = ?"+tail), id).
		Scan(&f.ID, &f.Sender, &f.Kind, &f.State, &f.Error, &began, &deadline, &ended, &f.EndError, &header, &f.Body)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read flow %s: %w", id, err)
	}
	f.Began, f.Deadline = time.UnixMicro(began), time.UnixMicro(deadline)
	if ended != 0 {
		f.Ended = time.UnixMicro(ended)
	}
	if f.Header, err = decodeHeader(header); err != nil {
		return nil, fmt.Errorf("read flow %s: %w", id, err)
	}
	rows, err := q.QueryContext(ctx, s.text("SELECT name, state, error, at FROM {to} WHERE flow = ? ORDER BY name"), id)
	if err != nil {
		return nil, fmt.Errorf("read services of flow %s: %w", id, err)
	}
	defer rows.Close()
	for rows.Next() {
		var p Party
		var at int64
		if err := rows.Scan(&p.Name, &p.State, &p.Error, &at); err != nil {
			return nil, fmt.Errorf("read services of flow %s: %w", id, err)
		}
		if at != 0 {
			p.At = time.UnixMicro(at)
		}
		f.To = append(f.To, p)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read services of flow %s: %w", id, err)
	}
	return f, nil
}
