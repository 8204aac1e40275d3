package inbox

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

const (
	purgeBatch = 500
	purgeTime  = 10 * time.Second // for each batch
	forgotten  = time.Minute      // after which the count of tries of a message with a row goes
)

// progress is what the durable consumers had handed out at a time.
type progress struct {
	at        time.Time
	delivered map[*lane]uint64
}

// clean removes rows that are old enough, unless a message with such a row may still come
// again: one whose acknowledgement was lost when the process that had handled it died,
// before a long pause of all. Rows from before the last look go when all that was handed
// out before it is acknowledged.
func (in *Inbox) clean(ctx context.Context, lanes []*lane, seen *progress) error {
	next := progress{time.Now(), map[*lane]uint64{}}
	done := seen.delivered != nil
	for _, l := range lanes {
		info, err := l.cons.Info(ctx)
		if err != nil {
			return fmt.Errorf("ask for durable consumer: %w", err)
		}
		next.delivered[l] = info.Delivered.Stream
		done = done && (info.NumAckPending == 0 || info.AckFloor.Stream >= seen.delivered[l])
	}
	if done {
		before, err := undelivered(ctx, lanes, seen.at)
		if err != nil {
			return err
		}
		if _, err := in.Purge(ctx, before); err != nil {
			return err
		}
	}
	if done || seen.delivered == nil {
		*seen = next
	}
	return nil
}

// clocks is what the clocks of programs and of the NATS servers may differ by.
const clocks = time.Minute

// undelivered gives a time, not behind at, before which no message was stored that is still to
// be delivered: a durable consumer that was made anew may have many before it that have rows.
func undelivered(ctx context.Context, lanes []*lane, at time.Time) (time.Time, error) {
	var sum Lag
	for _, l := range lanes {
		if err := l.lag(ctx, &sum); err != nil {
			return at, err
		}
	}
	if sum.Oldest.IsZero() {
		return at, nil
	}
	return earlier(at, sum.Oldest.Add(-clocks)), nil
}

// Purge removes the rows of messages that were handled before a time and before
// Config.Keep has begun, and what was put aside longer ago than Config.KeepDead. Consume
// does it by itself; a program that only calls Handle does it now and then, with a time of
// which it knows that no message handled before can be delivered again.
func (in *Inbox) Purge(ctx context.Context, before time.Time) (rows int, err error) {
	ctx = gtx.Detach(ctx)
	limit := time.Now().Add(-in.cfg.Keep)
	if before.Before(limit) {
		limit = before
	}
	dead := time.Now().Add(-in.cfg.KeepDead) // before all there is, where it is forEver
	for _, w := range []struct{ table, where string }{
		{in.s.n.dead, older(dead)},
		{in.s.n.try, older(time.Now().Add(-min(in.cfg.KeepDead, max(in.cfg.Keep, keepDead))))},
		// A NATS server that was killed may count deliveries anew, so that the last of several
		// looks like the first, and leaves the count of tries.
		{in.s.n.try, older(time.Now().Add(-forgotten)) + " AND EXISTS (SELECT 1 FROM " + in.s.n.inbox + " i WHERE i.consumer = '" + in.cfg.Name + "' AND i.id = " + in.s.n.try + ".id)"},
		{in.s.n.inbox, older(limit) + " AND state IN (" + strconv.Itoa(stateDone) + ", " + strconv.Itoa(stateBarred) + ")"},
		{in.s.n.inbox, older(earlier(limit, dead)) + " AND state = " + strconv.Itoa(stateDead) + " AND NOT EXISTS (SELECT 1 FROM " + in.s.n.dead + " d WHERE d.consumer = '" + in.cfg.Name + "' AND d.id = " + in.s.n.inbox + ".id)"},
	} {
		for {
			n, err := in.s.purge(ctx, w.table, w.where)
			rows += n
			in.counts.purged.Add(uint64(n))
			if err != nil {
				return rows, err
			}
			if n < purgeBatch {
				break
			}
		}
	}
	return rows, nil
}

func older(t time.Time) string { return "at < " + strconv.FormatInt(t.UnixMicro(), 10) }

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// purge removes one batch. Rows that somebody holds are left for later: a prepared branch
// may hold one for long.
func (s *store) purge(ctx context.Context, table, where string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, purgeTime)
	defer cancel()
	tx, err := s.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	n, err := s.purgeIn(ctx, tx, table, where)
	if err != nil {
		return 0, fmt.Errorf("delete old rows of %s: %w", table, err)
	}
	if err := tx.Commit(); err != nil {
		return 0, fmt.Errorf("delete old rows of %s: %w", table, err)
	}
	return n, nil
}

func (s *store) purgeIn(ctx context.Context, tx *sql.Tx, table, where string) (int, error) {
	mine := " WHERE consumer = '" + s.consumer + "' AND "
	find := "SELECT id FROM " + table + mine + where + " ORDER BY at LIMIT " + strconv.Itoa(purgeBatch)
	if s.d.Name() == "sqlite" {
		// One statement, so that the transaction does not read before it writes.
		res, err := tx.ExecContext(ctx, "DELETE FROM "+table+mine+"id IN ("+find+")")
		if err != nil {
			return 0, err
		}
		n, err := res.RowsAffected()
		return int(n), err
	}
	rows, err := tx.QueryContext(ctx, find+" FOR UPDATE SKIP LOCKED")
	if err != nil {
		return 0, err
	}
	ids, err := scanIDs(rows)
	rows.Close()
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	size := len(ids)
	if s.d.Name() == "mysql" {
		size = 1 // given many keys it may read the whole table, and wait for rows that others hold
	}
	n := 0
	for some := range slices.Chunk(ids, size) {
		res, err := tx.ExecContext(ctx, "DELETE FROM "+table+mine+"id IN ('"+strings.Join(some, "', '")+"')")
		if err != nil {
			return 0, err
		}
		k, err := res.RowsAffected()
		if err != nil {
			return 0, err
		}
		n += int(k)
	}
	return n, nil
}
