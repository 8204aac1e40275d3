package bank_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/globaltx/globaltx/driver/sqlite"
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/internal/bank"
	"github.com/globaltx/globaltx/natsbus"
)

// setup makes two banks in two SQLite files.
func setup(t *testing.T) (b *bank.Bank, from, to *sql.DB) {
	t.Helper()
	dir := t.TempDir()
	open := func(name string) *sql.DB {
		db, err := sql.Open("gtx-sqlite", "file:"+filepath.Join(dir, name)+"?_pragma=journal_mode(WAL)")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		return db
	}
	from, to = open("from.db"), open("to.db")
	b, err := bank.New(bank.Config{
		From: bank.Side{DB: from, Dialect: sqlite.Dialect{}},
		To:   bank.Side{DB: to, Dialect: sqlite.Dialect{}},
		Name: "test", Accounts: 20, Balance: 1000,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b, from, to
}

func TestLoadConservesMoney(t *testing.T) {
	bus, err := natsbus.Embedded(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bus.Close() })
	b, _, _ := setup(t)
	var tally bank.Tally
	load := bank.Load{Bank: b, Coordinator: bus, Transfers: 200, Workers: 4, Fail: 0.3, Seed: 1, Prefix: "t"}
	load.Run(t.Context(), nil, &tally)

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := tally.AskUnknown(ctx, bus); err != nil {
		t.Fatal(err)
	}
	if left, err := b.AwaitNone(ctx, tally.Log(), nil); err != nil {
		t.Fatal(left, err)
	}
	if _, err := b.Check(ctx, tally.Outcomes()); err != nil {
		t.Error(err)
	}
	c := tally.Counts()
	if c.Ended() != 200 || c.Unexpected() != 0 || c.Refused == 0 || c.Undone < c.Refused || c.Committed == 0 {
		t.Errorf("counts %+v, problem %v", c, tally.Problem())
	}
	if tally.Percentile(0.5) <= 0 || tally.Percentile(0.5) > tally.Percentile(1) {
		t.Errorf("p50 %s, max %s", tally.Percentile(0.5), tally.Percentile(1))
	}
	if err := b.Drop(ctx); err != nil {
		t.Error(err)
	}
}

// The checker is worth only what it finds: each row breaks one thing.
func TestCheckFinds(t *testing.T) {
	cases := map[string]struct {
		spoil    func(from, to *sql.DB) error
		outcomes map[string]gtx.Status
		want     string
	}{
		"nothing wrong": {outcomes: map[string]gtx.Status{"t1": gtx.Committed, "x": gtx.Aborted, "y": gtx.Pending}},
		"money made":    {spoil: exec("", "UPDATE test_b_account SET balance = balance + 1 WHERE id = 3"), want: "money before 40000, after 40001"},
		"money moved without a trace": {
			spoil: exec("UPDATE test_a_account SET balance = balance - 1 WHERE id = 3", "UPDATE test_b_account SET balance = balance + 1 WHERE id = 3"),
			want:  `bank "from" account 3 holds 999, its transfers say 1000`,
		},
		"not arrived":         {spoil: exec("", "DELETE FROM test_b_transfer"), want: "t1 was taken and did not arrive"},
		"not taken":           {spoil: exec("DELETE FROM test_a_transfer", ""), want: "t1 arrived and was not taken"},
		"another amount":      {spoil: exec("", "UPDATE test_b_transfer SET amount = 4"), want: "5 taken, 4 arrived"},
		"account lost":        {spoil: exec("DELETE FROM test_a_account WHERE id = 7", ""), want: "account 7 holds 0"},
		"told committed":      {outcomes: map[string]gtx.Status{"t2": gtx.Committed}, want: "t2 was told committed, found: false"},
		"told aborted":        {outcomes: map[string]gtx.Status{"t1": gtx.Aborted}, want: "t1 was told aborted, found: true"},
		"many of one problem": {spoil: exec("UPDATE test_a_account SET balance = 0", ""), want: "15 more like the last"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b, from, to := setup(t)
			if err := b.Move(t.Context(), bank.Transfer{ID: "t1", From: 1, To: 2, Amount: 5}, nil); err != nil {
				t.Fatal(err)
			}
			if tc.spoil != nil {
				if err := tc.spoil(from, to); err != nil {
					t.Fatal(err)
				}
			}
			_, err := b.Check(t.Context(), tc.outcomes)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func exec(inFrom, inTo string) func(from, to *sql.DB) error {
	return func(from, to *sql.DB) error {
		if inFrom != "" {
			if _, err := from.Exec(inFrom); err != nil {
				return err
			}
		}
		if inTo != "" {
			if _, err := to.Exec(inTo); err != nil {
				return err
			}
		}
		return nil
	}
}

func TestMoveWithoutFundsDoesNothing(t *testing.T) {
	b, _, _ := setup(t)
	err := b.Move(t.Context(), bank.Transfer{ID: "t1", From: 1, To: 2, Amount: 1001}, func() error {
		t.Error("the first bank has committed")
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), bank.ErrFunds.Error()) {
		t.Errorf("got %v, want ErrFunds", err)
	}
	if _, err := b.Check(t.Context(), map[string]gtx.Status{"t1": gtx.Aborted}); err != nil {
		t.Error(err)
	}
}
