// Package stage is what the examples need and do not teach: a temporary directory,
// two banks with one account each, and the order of events.
package stage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	"github.com/globaltx/globaltx/gtx"
)

// ErrOverdrawn is what a transfer returns when anna has less than the amount.
var ErrOverdrawn = errors.New("the account would be overdrawn")

// Main runs an example in a temporary directory, which it removes, and ends the
// program if the example fails.
func Main(name string, run func(ctx context.Context, dir string, out io.Writer) error) {
	dir, err := os.MkdirTemp("", "gtx-"+name+"-")
	if err != nil {
		log.Fatal(err)
	}
	err = run(context.Background(), dir, os.Stdout)
	if rerr := os.RemoveAll(dir); err == nil {
		err = rerr
	}
	if err != nil {
		log.Fatal(err)
	}
}

// Banks are two databases that know nothing of each other. The northern one has
// the account of anna, the southern one that of ben.
type Banks struct{ North, South *sql.DB }

// Open makes both databases, SQLite files in dir, through a driver that the caller
// has imported: gtx-sqlite. Each account holds 100.
func Open(ctx context.Context, driver, dir string) (*Banks, error) {
	north, err := open(ctx, driver, filepath.Join(dir, "north.db"), "anna")
	if err != nil {
		return nil, err
	}
	south, err := open(ctx, driver, filepath.Join(dir, "south.db"), "ben")
	if err != nil {
		return nil, errors.Join(err, north.Close())
	}
	return &Banks{north, south}, nil
}

func open(ctx context.Context, driver, path, owner string) (*sql.DB, error) {
	db, err := sql.Open(driver, path)
	if err != nil {
		return nil, err
	}
	if err := Accounts(ctx, db, owner); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// Accounts makes the table of accounts, with one of 100 for each id.
func Accounts(ctx context.Context, db *sql.DB, ids ...string) error {
	if _, err := db.ExecContext(ctx, "CREATE TABLE accounts (id TEXT PRIMARY KEY NOT NULL, balance INTEGER NOT NULL)"); err != nil {
		return fmt.Errorf("create accounts: %w", err)
	}
	for _, id := range ids {
		if _, err := db.ExecContext(ctx, "INSERT INTO accounts (id, balance) VALUES (?, 100)", id); err != nil {
			return fmt.Errorf("open account of %s: %w", id, err)
		}
	}
	return nil
}

// Close closes both databases.
func (b *Banks) Close() error { return errors.Join(b.North.Close(), b.South.Close()) }

// Balances are what anna and ben have.
func (b *Banks) Balances(ctx context.Context) (anna, ben int64, err error) {
	const text = "SELECT balance FROM accounts WHERE id = ?"
	if err := b.North.QueryRowContext(ctx, text, "anna").Scan(&anna); err != nil {
		return 0, 0, err
	}
	err = b.South.QueryRowContext(ctx, text, "ben").Scan(&ben)
	return anna, ben, err
}

// Play lets transfer move 30 from anna to ben, then 500, which anna does not have,
// and prints the balances to out before, between and after. transfer returns
// ErrOverdrawn for what it has undone.
func Play(ctx context.Context, out io.Writer,
	transfer func(ctx context.Context, amount int64) error,
	balances func(ctx context.Context) (anna, ben int64, err error),
) error {
	show := func(when string) error {
		// The undo of an aborted transaction runs in the background: a reader who asks
		// for it waits.
		anna, ben, err := balances(gtx.ReadCommitted(ctx))
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(out, "%s: anna %d, ben %d\n", when, anna, ben)
		return err
	}
	if err := show("at the start"); err != nil {
		return err
	}
	if err := transfer(ctx, 30); err != nil {
		return err
	}
	if err := show("after a transfer of 30"); err != nil {
		return err
	}
	switch err := transfer(ctx, 500); {
	case err == nil:
		return errors.New("a transfer of 500 has committed")
	case !errors.Is(err, ErrOverdrawn):
		return fmt.Errorf("transfer of 500: %w", err)
	}
	fmt.Fprintln(out, "transfer of 500:", ErrOverdrawn)
	return show("after the undo")
}
