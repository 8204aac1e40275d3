package outbox

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

const (
	// inlineBody is how large a body may be that is read together with others.
	inlineBody int64 = 8 << 10
	// sqlTime bounds what a relay does in the database at a time.
	sqlTime = 30 * time.Second
	// leaseMargin is how much longer a lease holds than a worker works with it.
	leaseMargin = 5 * time.Second
	// longestLease bounds PublishTimeout, too.
	longestLease = 10 * time.Minute
)

// row is a message in gtx_outbox.
type row struct {
	id           string
	slot         int
	pos          uint64
	subject, key string
	header, body []byte
	size         int64
	held         bool // its global transaction is undecided
	whole        bool // body was read
}

// claim is a set of slots that no other relay has meanwhile. A claim whose connection is
// lost is lost with it.
type claim struct {
	o     *Outbox
	held  string
	slots uint64
	tx    *sql.Tx // nil for SQLite
	owner string  // of the lease, for SQLite
	taken time.Time
}

// take claims those slots of a set that are free: none is in claim.slots otherwise.
func (o *Outbox) take(ctx context.Context, set uint64, held string) (_ *claim, err error) {
	now := time.Now()
	c := &claim{o: o, held: held, taken: now}
	if o.text.Name() == "sqlite" {
		c.owner = o.id.next(now)
		until := now.Add(workTime + o.cfg.PublishTimeout + leaseMargin)
		c.slots, err = c.ask(ctx, o.text.lease(set, c.owner, uint64(now.UnixMicro()), uint64(until.UnixMicro()), uint64(now.Add(longestLease).UnixMicro())))
		if err != nil {
			return nil, fmt.Errorf("lease slots of the outbox: %w", err)
		}
		return c, nil
	}
	// The row locks are held while messages are published. They end with the local
	// transaction, however it ends. Not at REPEATABLE READ: what is read next must be
	// what the holder before has left.
	if c.tx, err = o.begin(ctx); err != nil {
		return nil, fmt.Errorf("begin to relay: %w", err)
	}
	if c.slots, err = c.ask(ctx, o.text.lock(set)); err != nil {
		c.drop(ctx)
		return nil, fmt.Errorf("lock slots of the outbox: %w", err)
	}
	return c, nil
}

func (c *claim) query(ctx context.Context, query string) (*sql.Rows, error) {
	if c.tx != nil {
		return c.tx.QueryContext(ctx, query)
	}
	return c.o.db.QueryContext(ctx, query)
}

// ask reads a set of slots.
func (c *claim) ask(ctx context.Context, query string) (set uint64, err error) {
	lines, err := c.query(ctx, query)
	if err != nil {
		return 0, err
	}
	defer lines.Close()
	for lines.Next() {
		var slot int
		if err := lines.Scan(&slot); err != nil {
			return 0, err
		}
		set |= 1 << slot
	}
	return set, lines.Err()
}

// page reads the first messages of each slot, in order within each, in one statement.
func (c *claim) page(ctx context.Context, set uint64, inline int64, limit int) (list []row, err error) {
	lines, err := c.query(ctx, c.o.text.page(set, c.held, inline, limit))
	if err != nil {
		return nil, fmt.Errorf("read messages of the outbox: %w", err)
	}
	defer lines.Close()
	for lines.Next() {
		var r row
		if err := lines.Scan(&r.id, &r.slot, &r.pos, &r.subject, &r.key, &r.header, &r.size, &r.body, &r.held); err != nil {
			return nil, fmt.Errorf("read message of the outbox: %w", err)
		}
		r.whole = r.size <= inline
		list = append(list, r)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read messages of the outbox: %w", err)
	}
	return list, nil
}

// fetch reads a body that page has left out.
func (c *claim) fetch(ctx context.Context, r *row) error {
	if r.whole {
		return nil
	}
	lines, err := c.query(ctx, c.o.text.body(r))
	if err != nil {
		return fmt.Errorf("read body of message %s: %w", r.id, err)
	}
	defer lines.Close()
	if !lines.Next() {
		return fmt.Errorf("read body of message %s: it is gone (%w)", r.id, lines.Err())
	}
	if err := lines.Scan(&r.body); err != nil {
		return fmt.Errorf("read body of message %s: %w", r.id, err)
	}
	return nil
}

// finish removes what streams have acknowledged, puts the dead aside and gives the slots
// back. After an error all of it may be there yet, and is published again: the streams
// know the ids.
// It gives how many were put aside.
func (c *claim) finish(ctx context.Context, acked []*row, dead []failure) (buried int, err error) {
	defer c.drop(ctx)
	if len(acked) == 0 && len(dead) == 0 {
		return 0, nil
	}
	tx := c.tx
	if tx == nil {
		if tx, err = c.o.begin(ctx); err != nil {
			return 0, fmt.Errorf("begin to remove messages: %w", err)
		}
		defer tx.Rollback()
	}
	for i := range dead {
		f := &dead[i]
		gone, err := c.o.bury(ctx, tx, f)
		if err != nil {
			return 0, err
		}
		if gone {
			acked = append(acked, &f.row)
			buried++
		}
	}
	if len(acked) > 0 {
		if _, err := tx.ExecContext(ctx, c.o.text.remove(acked)); err != nil {
			return 0, fmt.Errorf("remove published messages: %w", err)
		}
	}
	if c.tx == nil {
		if _, err := tx.ExecContext(ctx, c.o.text.release(c.owner)); err != nil {
			return 0, fmt.Errorf("give slots back: %w", err)
		}
	}
	if err := tx.Commit(); err != nil {
		return 0, fmt.Errorf("commit the removal of published messages: %w", err)
	}
	c.tx, c.owner = nil, ""
	if buried > 0 {
		c.o.wakeAll()
	}
	return buried, nil
}

// drop gives the slots back where finish has not.
func (c *claim) drop(ctx context.Context) {
	if c.tx != nil {
		_ = c.tx.Rollback() // it is over either way
		return
	}
	if c.owner != "" {
		// Else the lease ends by itself.
		_, _ = c.o.db.ExecContext(ctx, c.o.text.release(c.owner))
	}
}

// bound gives a context for the database that outlives ctx, whose end only says that no
// more is to be begun.
func bound(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(gtx.Detach(context.WithoutCancel(ctx)), d)
}
