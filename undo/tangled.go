package undo

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// triesPerRow bounds the attempts to find an order, as a multiple of the rows.
const triesPerRow = 8

// untangler restores rows that constraints do not allow to restore newest first.
// Rows of tangled tables are deleted at first, which frees their unique values, and
// inserted with their before images afterwards; a row that cannot be deleted, since
// others refer to it, stays and is updated in place. What is refused is tried
// again after all others, as long as that gets on.
type untangler struct {
	*localTx
	tangled []string
	rows    []Row

	out   map[rowKey]bool // deleted, to be inserted
	done  map[rowKey]bool
	ended []Row // restored under their locks
	tries int
}

type rowKey struct{ table, keyHash string }

func keyOf(r *Row) rowKey { return rowKey{r.Table, r.KeyHash} }

func (u *untangler) untangle(ctx context.Context) error {
	u.out, u.done = map[rowKey]bool{}, map[rowKey]bool{}
	for _, run := range runs(u.rows) {
		if !slices.Contains(u.tangled, run[0].Table) || run[0].Op == Delete {
			continue
		}
		// A refusal leaves the rows in place.
		if _, err := u.attempt(ctx, run, u.takeOut); err != nil {
			return err
		}
	}
	left := slices.DeleteFunc(slices.Clone(u.rows), func(r Row) bool { return u.done[keyOf(&r)] })
	for len(left) > 0 {
		var refused []*refusal
		for _, run := range u.alike(left) {
			no, err := u.attempt(ctx, run, u.putBack)
			if err != nil {
				return err
			}
			refused = append(refused, no...)
		}
		if len(refused) == 0 {
			return nil
		}
		if no := u.news(refused); no != nil {
			return no
		}
		if len(refused) == len(left) || u.tries > triesPerRow*len(u.rows)+1000 {
			exchanged, err := u.exchange(ctx, refused)
			if err != nil {
				return err
			}
			if !exchanged {
				return refused[0]
			}
		}
		left = make([]Row, 0, len(refused))           // the rows of refused lie in the old one
		for _, no := range slices.Backward(refused) { // a chain goes one way or the other
			if !u.done[keyOf(&no.rows[0])] {
				left = append(left, no.rows[0])
			}
		}
	}
	return nil
}

// news is a refusal that shows another table to be tangled.
func (u *untangler) news(refused []*refusal) *refusal {
	for _, no := range refused {
		if no.class == Duplicate && !slices.Contains(u.tangled, no.rows[0].Table) {
			return no
		}
	}
	return nil
}

// alike cuts rows into runs that are deleted or not.
func (u *untangler) alike(rows []Row) [][]Row {
	var out [][]Row
	for _, run := range runs(rows) {
		from := 0
		for i := range run {
			if u.out[keyOf(&run[i])] != u.out[keyOf(&run[from])] {
				out, from = append(out, run[from:i:i]), i
			}
		}
		out = append(out, run[from:])
	}
	return out
}

// attempt does step on rows in a savepoint. Where a constraint refuses, it tries
// the halves, down to single rows; those are given back.
func (u *untangler) attempt(ctx context.Context, rows []Row, step func(ctx context.Context, rows []Row) error) ([]*refusal, error) {
	u.tries++
	no, err := u.try(ctx, func() error { return step(ctx, rows) })
	switch {
	case err != nil || no == nil:
		return nil, err
	case len(rows) == 1:
		no.rows = rows
		return []*refusal{no}, nil
	}
	first, err := u.attempt(ctx, rows[:len(rows)/2], step)
	if err != nil {
		return nil, err
	}
	second, err := u.attempt(ctx, rows[len(rows)/2:], step)
	return append(first, second...), err
}

// try does step in a savepoint, and takes it back where a constraint refuses.
func (u *untangler) try(ctx context.Context, step func() error) (*refusal, error) {
	if _, err := u.exec(ctx, "SAVEPOINT gtx_try"); err != nil {
		return nil, fmt.Errorf("set savepoint of phase two: %w", err)
	}
	err := step()
	var no *refusal
	if err != nil && !errors.As(err, &no) {
		return nil, err
	}
	end := []string{"RELEASE SAVEPOINT gtx_try"}
	if no != nil {
		end = []string{"ROLLBACK TO SAVEPOINT gtx_try", end[0]}
	}
	for _, text := range end {
		if _, err := u.exec(ctx, text); err != nil {
			return nil, fmt.Errorf("end savepoint of phase two: %w", err)
		}
	}
	return no, nil
}

// takeOut deletes rows that equal their after image: for those that the transaction
// has inserted that is all, the others are remembered.
func (u *untangler) takeOut(ctx context.Context, rows []Row) error {
	if rows[0].Op == Insert {
		ended, err := u.restore(ctx, rows)
		if err == nil {
			u.mark(u.done, rows)
			u.ended = append(u.ended, ended...)
		}
		return err
	}
	table, err := u.table(ctx, &rows[0])
	if err != nil {
		return err
	}
	locked, err := u.lockRows(ctx, table, rows)
	if err != nil || len(locked) != len(rows) || len(runs(locked)) != 1 || locked[0].Op != Update {
		return err // changed since they were read: putBack looks again
	}
	n, err := u.writes(ctx, rows, u.r.cfg.Dialect.Bulk(table, rows).TakeOut)
	if err != nil {
		return err
	}
	// Those that were deleted are gone, those that were not must be restored already.
	right, err := u.restored(ctx, table, rows)
	if err != nil {
		return err
	}
	if int(n)+right == len(rows) {
		u.mark(u.out, rows)
		return nil
	}
	if len(rows) == 1 {
		return dirty(&rows[0], "the row is not what the transaction left there")
	}
	// Go down to the dirty row.
	return &refusal{rows: rows, class: Blocked, err: errNotLeft}
}

var errNotLeft = errors.New("a row is not what the transaction left there")

// putBack restores rows: those that were deleted by inserting them.
func (u *untangler) putBack(ctx context.Context, rows []Row) error {
	if !u.out[keyOf(&rows[0])] {
		ended, err := u.restore(ctx, rows)
		u.ended = append(u.ended, ended...)
		return err
	}
	table, err := u.table(ctx, &rows[0])
	if err != nil {
		return err
	}
	n, err := u.writes(ctx, rows, u.r.cfg.Dialect.Bulk(table, rows).PutBack)
	if err == nil {
		err = u.verify(ctx, table, rows, n)
	}
	if err == nil {
		u.ended = append(u.ended, rows...)
	}
	return err
}

// exchange is the last resort for rows that stayed in place: all of a table in
// one statement, where the database has one.
func (u *untangler) exchange(ctx context.Context, refused []*refusal) (some bool, err error) {
	byTable := map[string][]Row{}
	for _, no := range refused {
		if row := no.rows[0]; row.Op == Update && no.class == Duplicate && !u.out[keyOf(&row)] {
			byTable[row.Table] = append(byTable[row.Table], row)
		}
	}
	for _, rows := range byTable {
		table, err := u.table(ctx, &rows[0])
		if err != nil {
			return false, err
		}
		s := u.r.cfg.Dialect.Bulk(table, rows).Exchange
		if s.Text == "" {
			continue
		}
		no, err := u.try(ctx, func() error {
			n, err := u.writes(ctx, rows, s)
			if err == nil {
				err = u.verify(ctx, table, rows, n)
			}
			return err
		})
		if err != nil {
			return false, err
		}
		if no == nil {
			u.mark(u.done, rows)
			u.ended = append(u.ended, rows...)
			some = true
		}
	}
	return some, nil
}

func (u *untangler) mark(in map[rowKey]bool, rows []Row) {
	for i := range rows {
		in[keyOf(&rows[i])] = true
	}
}
