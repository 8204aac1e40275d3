package bank

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

// maxProblems bounds what Check lists of one kind.
const maxProblems = 5

// Money is what both banks hold together, with what they held at the start.
type Money struct{ Before, After int64 }

// Check reads everything and returns an error that lists what is wrong: money
// made or lost, a transfer that stands in one bank only or differs, an account
// that is not the sum of its transfers, a transfer whose outcome was told
// otherwise. outcomes may be nil; what it does not name, and what is Pending in
// it, may have gone either way, as a whole. Nothing may run meanwhile.
func (b *Bank) Check(ctx context.Context, outcomes map[string]gtx.Status) (Money, error) {
	m := Money{Before: 2 * int64(b.cfg.Accounts) * b.cfg.Balance}
	var books [2]map[string]entry
	var errs []error
	for i, s := range b.sides() {
		book, sum, bad, err := s.audit(ctx, b.cfg)
		if err != nil {
			return m, fmt.Errorf("read bank %q: %w", s.label, err)
		}
		books[i], m.After = book, m.After+sum
		errs = append(errs, bad...)
	}
	if m.Before != m.After {
		errs = append(errs, fmt.Errorf("money before %d, after %d", m.Before, m.After))
	}
	from, to := books[0], books[1]
	errs = append(errs, each(from, func(id string, e entry) error {
		if other, ok := to[id]; !ok {
			return fmt.Errorf("transfer %s was taken and did not arrive", id)
		} else if e.amount != -other.amount {
			return fmt.Errorf("transfer %s: %d taken, %d arrived", id, -e.amount, other.amount)
		}
		return nil
	})...)
	errs = append(errs, each(to, func(id string, _ entry) error {
		if _, ok := from[id]; !ok {
			return fmt.Errorf("transfer %s arrived and was not taken", id)
		}
		return nil
	})...)
	errs = append(errs, each(outcomes, func(id string, told gtx.Status) error {
		_, there := from[id]
		if told == gtx.Committed && !there || told == gtx.Aborted && there {
			return fmt.Errorf("transfer %s was told %s, found: %t", id, told, there)
		}
		return nil
	})...)
	return m, errors.Join(errs...)
}

// entry is one row of a transfer table.
type entry struct {
	account int
	amount  int64
}

// audit reads one bank and compares each account with its transfers.
func (s *side) audit(ctx context.Context, cfg Config) (book map[string]entry, sum int64, bad []error, err error) {
	book = map[string]entry{}
	want := map[int]int64{}
	for n := 1; n <= cfg.Accounts; n++ {
		want[n] = cfg.Balance
	}
	rows, err := s.DB.QueryContext(ctx, "SELECT id, account, amount FROM "+s.transfer)
	if err != nil {
		return nil, 0, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		var e entry
		if err := rows.Scan(&id, &e.account, &e.amount); err != nil {
			return nil, 0, nil, err
		}
		book[id] = e
		want[e.account] += e.amount
	}
	if err := rows.Err(); err != nil {
		return nil, 0, nil, err
	}

	balances, err := s.DB.QueryContext(ctx, "SELECT id, balance FROM "+s.account)
	if err != nil {
		return nil, 0, nil, err
	}
	defer balances.Close()
	got := map[int]int64{}
	for balances.Next() {
		var id int
		var balance int64
		if err := balances.Scan(&id, &balance); err != nil {
			return nil, 0, nil, err
		}
		got[id] = balance
		sum += balance
	}
	bad = each(want, func(id int, balance int64) error {
		if have, ok := got[id]; !ok || have != balance {
			return fmt.Errorf("bank %q account %d holds %d, its transfers say %d", s.label, id, have, balance)
		}
		return nil
	})
	return book, sum, bad, balances.Err()
}

// each collects the first errors of f, in the order of the keys.
func each[K string | int, V any](m map[K]V, f func(K, V) error) (errs []error) {
	more := 0
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if err := f(k, m[k]); err != nil && len(errs) < maxProblems {
			errs = append(errs, err)
		} else if err != nil {
			more++
		}
	}
	if more > 0 {
		errs = append(errs, fmt.Errorf("and %d more like the last", more))
	}
	return errs
}

// Left counts what phase two has not removed yet.
type Left struct {
	Undo    int // rows of gtx_undo: restorable images, and locks
	Headers int // rows of gtx_branch
	// Prepared counts branches of modes XA and ThreePhase that wait for their end.
	Prepared int
	XIDs     int // global transactions they belong to
}

// None reports whether nothing is left.
func (l Left) None() bool { return l == Left{} }

func (l Left) String() string {
	text := fmt.Sprintf("%d undo rows and %d branch headers of %d transactions", l.Undo, l.Headers, l.XIDs)
	if l.Prepared > 0 {
		text = fmt.Sprintf("%d prepared branches, %s", l.Prepared, text)
	}
	return text
}

// Leftovers counts rows of the undo log and prepared branches in both databases, of
// the decision log with identity log only, or of every one for zero.
func (b *Bank) Leftovers(ctx context.Context, log uint64) (Left, error) {
	var l Left
	xids := map[string]bool{}
	sides := b.sides()
	for i, s := range sides {
		if i == 1 && s.DB == sides[0].DB {
			break // one database on both sides: counted once
		}
		for table, n := range map[string]*int{"gtx_undo": &l.Undo, "gtx_branch": &l.Headers} {
			if err := s.countXIDs(ctx, table, log, n, xids); err != nil {
				return Left{}, fmt.Errorf("count %s in bank %q: %w", table, s.label, err)
			}
		}
		names, err := Prepared(ctx, s.Side)
		if err != nil {
			return Left{}, fmt.Errorf("bank %q: %w", s.label, err)
		}
		for _, n := range names {
			if log == 0 || n.XID.Log == log {
				l.Prepared++
				xids[n.XID.String()] = true
			}
		}
	}
	l.XIDs = len(xids)
	return l, nil
}

func (s *side) countXIDs(ctx context.Context, table string, log uint64, n *int, xids map[string]bool) error {
	rows, err := s.DB.QueryContext(ctx, "SELECT xid FROM "+table)
	if s.Dialect.Classify(err) == undo.NoTable {
		return nil // no global transaction has been here
	}
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return err
		}
		xid, err := gtx.ParseXID(text)
		if err != nil {
			return err
		}
		if log == 0 || xid.Log == log {
			*n++
			xids[text] = true
		}
	}
	return rows.Err()
}

// AwaitNone polls until Leftovers finds nothing, or ctx ends: then it gives
// what is left with the error of ctx. poll, if not nil, is told each count.
func (b *Bank) AwaitNone(ctx context.Context, log uint64, poll func(Left)) (Left, error) {
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	var last Left
	for {
		l, err := b.Leftovers(ctx, log)
		switch {
		case err == nil && l.None():
			return l, nil
		case err == nil:
			last = l
			if poll != nil {
				poll(l)
			}
		case ctx.Err() == nil:
			return last, err
		}
		select {
		case <-ctx.Done():
			return last, fmt.Errorf("wait until nothing is left: %w", ctx.Err())
		case <-t.C:
		}
	}
}
