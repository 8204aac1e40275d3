package tcc

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// text puts names and parameter markers of the dialect into a text: {tcc}, {resource}
// and {operator}, {s} for a parameter that is a text, {i} for an integer.
func (t *table) text(query string) string {
	name := t.d.Name()
	prefix := schemaOf[name]
	query = strings.NewReplacer("{tcc}", prefix+"gtx_tcc", "{resource}", prefix+"gtx_resource", "{operator}", prefix+"gtx_operator").Replace(query)
	var b strings.Builder
	for n := 1; ; n++ {
		i := strings.IndexByte(query, '{')
		if i < 0 {
			b.WriteString(query)
			return b.String()
		}
		b.WriteString(query[:i])
		b.WriteString(t.d.Placeholder(n))
		if name == "postgres" { // cannot tell the type of one in a list of columns
			b.WriteString(map[byte]string{'s': "::text", 'i': "::bigint"}[query[i+1]])
		}
		query = query[i+3:]
	}
}

const columns = "branch, action, version, args, created, tries, retry_at, reason"

// lock locks the row of g by its key and reads it. errGone where there is none. It does not
// wait for another resolver: that is at work already. Where inflight is set PostgreSQL, which
// does not show a row of a local transaction that is still open, is made to wait for it.
func (t *table) lock(ctx context.Context, tx Tx, g *guard, inflight bool) error {
	tail := ""
	switch t.d.Name() {
	case "sqlite":
		// A read would not take the only write lock, which may then be refused.
		if _, err := tx.ExecContext(ctx, t.text("UPDATE {tcc} SET tries = tries WHERE xid = {s} AND branch = {i}"), g.xid.String(), int64(g.branch)); err != nil {
			return fmt.Errorf("lock guard row: %w", err)
		}
	default:
		tail = " FOR UPDATE NOWAIT"
	}
	if inflight {
		if free, err := t.insertBar(ctx, tx, g); err != nil {
			return err
		} else if free {
			return errGone
		}
	}
	row := tx.QueryRowContext(ctx, t.text("SELECT "+columns+" FROM {tcc} WHERE xid = {s} AND branch = {i}"+tail), g.xid.String(), int64(g.branch))
	now, err := scanGuard(g.xid, row.Scan)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return errGone
	case err != nil:
		return fmt.Errorf("lock guard row: %w", err)
	}
	*g = now
	g.kept = locked
	return nil
}

// insertBar inserts the key of a guard, which waits for a Try that is still open. True: it
// was free. The caller rolls back.
func (t *table) insertBar(ctx context.Context, tx Tx, g *guard) (free bool, err error) {
	if _, err := tx.ExecContext(ctx, "SET LOCAL lock_timeout = '"+barWait+"'"); err != nil {
		return false, fmt.Errorf("bound wait for a late try: %w", err)
	}
	res, err := tx.ExecContext(ctx, t.text(`INSERT INTO {tcc} (xid, branch, action, version, args, created, tries, retry_at, reason)
VALUES ({s}, {i}, '', 0, '', 0, 0, 0, '') ON CONFLICT DO NOTHING`), g.xid.String(), int64(g.branch))
	if err != nil {
		return false, fmt.Errorf("bar a late try: %w", err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return false, fmt.Errorf("bar a late try: %w", err)
	}
	return n == 1, nil
}

func scanGuard(xid gtx.XID, scan func(...any) error) (guard, error) {
	g := guard{xid: xid}
	var branch, created, retryAt int64
	err := scan(&branch, &g.action, &g.version, &g.args, &created, &g.tries, &retryAt, &g.reason)
	g.version = max(g.version, -g.version) // a mark of rule X8 that the action has committed
	g.branch, g.created, g.retryAt = gtx.BranchID(branch), time.UnixMicro(created), time.UnixMicro(retryAt)
	g.reason = readReason(g.reason)
	return g, err
}

func (t *table) of(ctx context.Context, xid gtx.XID) (all []guard, err error) {
	err = t.look(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, t.text("SELECT "+columns+" FROM {tcc} WHERE xid = {s} ORDER BY branch"), xid.String())
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			g, err := scanGuard(xid, rows.Scan)
			if err != nil {
				return err
			}
			all = append(all, g)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("read guard rows: %w", err)
	}
	return all, nil
}

func (t *table) leftovers(ctx context.Context, after string, limit int) (xids []string, err error) {
	now := t.now()
	err = t.look(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, t.text(`SELECT DISTINCT xid FROM {tcc} WHERE xid > {s} AND (retry_at <= {i} OR retry_at > {i})
AND (created <= {i} OR created > {i}) ORDER BY xid LIMIT `+strconv.Itoa(limit)),
			after, now.UnixMicro(), now.Add(maxPause+skew).UnixMicro(), now.Add(-youngFor).UnixMicro(), now.Add(skew).UnixMicro())
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var xid string
			if err := rows.Scan(&xid); err != nil {
				return err
			}
			xids = append(xids, xid)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("look for guard rows: %w", err)
	}
	return xids, nil
}

// maxReason bounds the reason of a failure as it is stored, in bytes.
const maxReason = 2000

// storedReason is ASCII, which every character set takes.
func storedReason(text string) string {
	for {
		q := strconv.QuoteToASCII(text)
		if q = q[1 : len(q)-1]; len(q) <= maxReason {
			return q
		}
		text = text[:min(len(text)-1, maxReason)*9/10]
	}
}

func readReason(stored string) string {
	if text, err := strconv.Unquote(`"` + stored + `"`); err == nil {
		return text
	}
	return stored
}
