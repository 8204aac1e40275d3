// Package bank is a workload that shows every lost, doubled or half-done
// transfer: two banks in two databases, money that moves between them, and a
// checker. Each transfer leaves a row with its own key in both banks, so that
// it can be traced on both sides. The demo and the integration tests use it.
package bank

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/globaltx/globaltx/undo"
)

// ErrFunds is returned by Move when the account does not hold the amount.
// Nothing has been committed locally.
var ErrFunds = errors.New("account does not hold the amount")

// Side is one of the two banks.
type Side struct {
	// DB is opened with a driver of this module, or with a plain one when the Bank
	// is only counted and checked.
	DB *sql.DB
	// Dialect gives placeholders and sorts errors.
	Dialect undo.Dialect
	// Context, if not nil, is what becomes of the context of Move on this side: see
	// gtx.InMode.
	Context func(context.Context) context.Context
}

// Config of a Bank.
type Config struct {
	From, To Side // may be the same database
	// Name is the prefix of the four tables: [a-z0-9_], at most 40 bytes. Nothing
	// else in either database may begin with it.
	Name string
	// Accounts per bank, from 1; zero: 100.
	Accounts int
	// Balance of each account at the start, zero: 1,000,000.
	Balance int64
}

// Transfer moves Amount from account From of one bank to account To of the
// other.
type Transfer struct {
	ID       string // unique, at most 64 bytes
	From, To int    // from 1
	Amount   int64  // positive
}

// Bank is both banks. Safe for concurrent use.
type Bank struct {
	cfg      Config
	from, to side
}

// side is a Side with the names of its tables.
type side struct {
	Side
	label             string
	account, transfer string
}

// New checks cfg and fills its defaults. It touches no database.
func New(cfg Config) (*Bank, error) {
	if cfg.Accounts == 0 {
		cfg.Accounts = 100
	}
	if cfg.Balance == 0 {
		cfg.Balance = 1_000_000
	}
	switch {
	case cfg.From.DB == nil || cfg.To.DB == nil || cfg.From.Dialect == nil || cfg.To.Dialect == nil:
		return nil, errors.New("bank: a side has no database or no dialect")
	case cfg.Name == "" || len(cfg.Name) > 40 || strings.Trim(cfg.Name, "abcdefghijklmnopqrstuvwxyz0123456789_") != "":
		return nil, fmt.Errorf("bank: name %q is not a short word of [a-z0-9_]", cfg.Name)
	case cfg.Accounts < 1 || cfg.Balance < 0:
		return nil, fmt.Errorf("bank: %d accounts of %d", cfg.Accounts, cfg.Balance)
	}
	return &Bank{
		cfg:  cfg,
		from: side{cfg.From, "from", cfg.Name + "_a_account", cfg.Name + "_a_transfer"},
		to:   side{cfg.To, "to", cfg.Name + "_b_account", cfg.Name + "_b_transfer"},
	}, nil
}

// Accounts per bank.
func (b *Bank) Accounts() int { return b.cfg.Accounts }

// Create makes and fills the tables.
func (b *Bank) Create(ctx context.Context) error {
	for _, s := range b.sides() {
		if err := s.create(ctx, b.cfg.Accounts, b.cfg.Balance); err != nil {
			return fmt.Errorf("create bank %q: %w", s.label, err)
		}
	}
	return nil
}

// Drop removes the tables. The tables of the undo log stay: others may use them.
func (b *Bank) Drop(ctx context.Context) error {
	var errs []error
	for _, s := range b.sides() {
		for _, table := range []string{s.account, s.transfer} {
			if _, err := s.DB.ExecContext(ctx, "DROP TABLE IF EXISTS "+table); err != nil {
				errs = append(errs, fmt.Errorf("drop bank %q: %w", s.label, err))
			}
		}
	}
	return errors.Join(errs...)
}

// Move books t in both banks, each in a local transaction. between, which may
// be nil, is called after the local COMMIT of the first and before anything
// happens in the second; its error is returned. Call Move inside gtx.Run.
func (b *Bank) Move(ctx context.Context, t Transfer, between func() error) error {
	if err := b.from.book(ctx, t.ID, t.From, -t.Amount); err != nil {
		return fmt.Errorf("withdraw: %w", err)
	}
	if between != nil {
		if err := between(); err != nil {
			return err
		}
	}
	if err := b.to.book(ctx, t.ID, t.To, t.Amount); err != nil {
		return fmt.Errorf("deposit: %w", err)
	}
	return nil
}

// Dry does what Move does and rolls back both local transactions: a transfer that is
// given up, without a global transaction.
func (b *Bank) Dry(ctx context.Context, t Transfer) error {
	if err := b.from.enter(ctx, t.ID, t.From, -t.Amount, (*sql.Tx).Rollback); err != nil {
		return fmt.Errorf("withdraw: %w", err)
	}
	if err := b.to.enter(ctx, t.ID, t.To, t.Amount, (*sql.Tx).Rollback); err != nil {
		return fmt.Errorf("deposit: %w", err)
	}
	return nil
}

func (b *Bank) sides() [2]*side { return [2]*side{&b.from, &b.to} }

func (s *side) create(ctx context.Context, accounts int, balance int64) error {
	for _, ddl := range []string{
		"CREATE TABLE " + s.account + " (id INTEGER PRIMARY KEY, balance BIGINT NOT NULL)",
		"CREATE TABLE " + s.transfer + " (id VARCHAR(64) PRIMARY KEY, account INTEGER NOT NULL, amount BIGINT NOT NULL)",
	} {
		if _, err := s.DB.ExecContext(ctx, ddl); err != nil {
			return err
		}
	}
	for next := 1; next <= accounts; {
		rows := make([]string, 0, 500)
		for ; next <= accounts && len(rows) < cap(rows); next++ {
			rows = append(rows, fmt.Sprintf("(%d, %d)", next, balance))
		}
		if _, err := s.DB.ExecContext(ctx, "INSERT INTO "+s.account+" (id, balance) VALUES "+strings.Join(rows, ", ")); err != nil {
			return err
		}
	}
	return nil
}

// book changes the balance and writes the row that traces the transfer.
func (s *side) book(ctx context.Context, id string, account int, amount int64) error {
	return s.enter(ctx, id, account, amount, (*sql.Tx).Commit)
}

// enter is book with another end.
func (s *side) enter(ctx context.Context, id string, account int, amount int64, end func(*sql.Tx) error) error {
	if s.Context != nil {
		ctx = s.Context(ctx)
	}
	tx, err := s.DB.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it has nothing to do
	p := s.Dialect.Placeholder
	res, err := tx.ExecContext(ctx, fmt.Sprintf("UPDATE %s SET balance = balance + %s WHERE id = %s AND balance >= %s",
		s.account, p(1), p(2), p(3)), amount, account, -amount)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil {
		return err
	} else if n != 1 {
		return fmt.Errorf("account %d: %w", account, ErrFunds)
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("INSERT INTO %s (id, account, amount) VALUES (%s, %s, %s)",
		s.transfer, p(1), p(2), p(3)), id, account, amount); err != nil {
		return err
	}
	return end(tx)
}
