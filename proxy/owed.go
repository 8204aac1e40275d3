package proxy

import (
	"context"
	"slices"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// owedWait bounds the wait for a holder on a connection that owes a result.
const owedWait = 200 * time.Millisecond

// owed are the results of one global transaction that nobody has asked yet.
//
// database/sql locks the connection that a result came from when the program asks the
// result, also when another has the connection meanwhile, for as long as that one's
// statement runs. With the bare driver such a statement waits for no row of the first,
// which has committed. Here it may wait for the end of the very transaction that asks,
// or for one that waits for that: nobody would see the circle. So a wait on such a
// connection is short, and gtx.Run waits for the holder instead, without a connection.
type owed struct {
	tx *gtx.Tx
	n  int
}

// owe notes a result of tx.
func (c *conn) owe(tx *gtx.Tx) *owed {
	if i := slices.IndexFunc(c.owed, func(o *owed) bool { return o.tx == tx }); i >= 0 {
		c.owed[i].n++
		return c.owed[i]
	}
	c.owed = slices.DeleteFunc(c.owed, func(o *owed) bool { return !o.open() })
	o := &owed{tx: tx, n: 1}
	c.owed = append(c.owed, o)
	return o
}

// open tells that somebody may still ask.
func (o *owed) open() bool { return o.n > 0 && o.tx.Active() == nil }

// patience bounds a wait of tx on the connection.
func (c *conn) patience(ctx context.Context, tx *gtx.Tx) (context.Context, context.CancelFunc) {
	if tx != nil && slices.ContainsFunc(c.owed, func(o *owed) bool { return o.tx != tx && o.open() }) {
		return context.WithTimeout(ctx, owedWait)
	}
	return ctx, func() {}
}

// result is what a captured statement returned. It is asked under the lock of its
// connection.
type result struct {
	c    *Captured
	owed *owed // until it is asked, nil where nobody waits for its transaction
}

// answer gives the result to a program. Outside a global transaction nothing is owed.
func (b *branch) answer(c *Captured) *result {
	if b.global == nil {
		return &result{c: c}
	}
	return &result{c, b.c.owe(b.global)}
}

func (r *result) asked() *Captured {
	if r.owed != nil {
		r.owed.n--
		r.owed = nil
	}
	return r.c
}

func (r *result) RowsAffected() (int64, error) { return r.asked().RowsAffected, nil }

func (r *result) LastInsertId() (int64, error) {
	c := r.asked()
	return c.LastInsertID, c.LastInsertErr
}

// AllRowsAffected and AllLastInsertIds are those of mysql.Result, for who reaches
// it through sql.Conn.Raw.
func (r *result) AllRowsAffected() []int64 {
	return r.each(func(c *Captured) int64 { return c.RowsAffected })
}

func (r *result) AllLastInsertIds() []int64 {
	return r.each(func(c *Captured) int64 { return c.LastInsertID })
}

func (r *result) each(value func(*Captured) int64) []int64 {
	c := r.asked()
	if c.All == nil {
		return []int64{value(c)}
	}
	out := make([]int64, len(c.All))
	for i := range c.All {
		out[i] = value(&c.All[i])
	}
	return out
}
