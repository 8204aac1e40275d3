package undo

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/globaltx/globaltx/gtx"
)

const (
	// pageRows is how many undo rows a rollback holds in memory at once.
	pageRows = 10_000
	// bulkRows is how many rows one statement restores.
	bulkRows = 500
)

// UndoRows implements StoreTx; a limit of 0 is none. Rows of one statement come in the
// order in which they free unique keys: what it inserted, updated, deleted.
func (t *localTx) UndoRows(ctx context.Context, xid gtx.XID, limit int) ([]Row, error) {
	text := "SELECT tbl, keyh, branch, seq, op, schema_fp FROM gtx_undo WHERE xid = ? ORDER BY branch DESC, seq DESC, tbl DESC, keyh DESC"
	if limit > 0 {
		text += fmt.Sprintf(" LIMIT %d", limit)
	}
	lines, err := t.lines(ctx, t.r.text(text), xid.String())
	if err != nil {
		return nil, fmt.Errorf("read undo rows: %w", err)
	}
	defer lines.Close()
	var rows []Row
	same := map[string]string{} // few different tables: one copy of each name
	one := func(s string) string {
		if _, ok := same[s]; !ok {
			same[s] = s
		}
		return same[s]
	}
	for lines.Next() {
		row := Row{XID: xid}
		var branch int64
		var op string
		if err := lines.Scan(&row.Table, &row.KeyHash, &branch, &row.Seq, &op, &row.Fingerprint); err != nil {
			return nil, fmt.Errorf("read undo row: %w", err)
		}
		row.Table, row.Op, row.Fingerprint, row.Branch = one(row.Table), Op(one(op)), one(row.Fingerprint), gtx.BranchID(branch)
		rows = append(rows, row)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read undo rows: %w", err)
	}
	for from := 0; from < len(rows); {
		to := from + 1
		for to < len(rows) && rows[to].Branch == rows[from].Branch && rows[to].Seq == rows[from].Seq && rows[to].Table == rows[from].Table {
			to++
		}
		slices.SortStableFunc(rows[from:to], func(a, b Row) int { return strings.Index(opOrder, string(a.Op)) - strings.Index(opOrder, string(b.Op)) })
		from = to
	}
	return rows, nil
}

const opOrder = "IUD"

// runs cuts rows into those that one Bulk can take.
func runs(rows []Row) [][]Row {
	var out [][]Row
	for from := 0; from < len(rows); {
		to := from + 1
		for to < len(rows) && to-from < bulkRows && rows[to].Table == rows[from].Table && rows[to].Op == rows[from].Op && rows[to].Fingerprint == rows[from].Fingerprint {
			to++
		}
		out = append(out, rows[from:to:to])
		from = to
	}
	return out
}

// keyList is the condition for the undo rows of rows, which have one table, with
// its arguments.
func keyList(xid gtx.XID, rows []Row) (where string, args []any) {
	args = make([]any, 0, len(rows)+2)
	args = append(args, rows[0].Table)
	for i := range rows {
		args = append(args, rows[i].KeyHash)
	}
	return "tbl = ? AND keyh IN (?" + strings.Repeat(", ?", len(rows)-1) + ") AND xid = ?", append(args, xid.String())
}

// deleteFrom begins a DELETE that goes through the primary key. MySQL and MariaDB scan
// near-empty tables otherwise, and wait for the rows that others have just written.
// The first takes its own kind of hint only, and the other only the older kind, in a
// DELETE that names its table twice; it alone reads comments that begin with M.
func (t *localTx) deleteFrom(table string) string {
	if t.r.cfg.Dialect.Name() == "mysql" {
		return "DELETE /*+ INDEX(" + table + " PRIMARY) */ /*M! " + table + " */ FROM " + table + " /*M! FORCE INDEX (PRIMARY) */ WHERE "
	}
	return "DELETE FROM " + table + " WHERE "
}

// DeleteUndo implements StoreTx: by primary key and owner, for by key alone it could
// be the next owner's row (rule P2).
func (t *localTx) DeleteUndo(ctx context.Context, rows []Row) error {
	for from := 0; from < len(rows); {
		to := from + 1
		for to < len(rows) && to-from < bulkRows && rows[to].Table == rows[from].Table && rows[to].XID == rows[from].XID {
			to++
		}
		where, args := keyList(rows[from].XID, rows[from:to])
		if _, err := t.exec(ctx, t.r.text(t.deleteFrom("gtx_undo")+where), args...); err != nil {
			return fmt.Errorf("delete undo rows: %w", err)
		}
		from = to
	}
	return nil
}

// DropUndo implements StoreTx.
func (t *localTx) DropUndo(ctx context.Context, xids []gtx.XID) (int, error) {
	owners, args := inXIDs(xids)
	if t.r.cfg.Dialect.Name() == "mysql" {
		return t.dropByKey(ctx, owners, args)
	}
	n, err := t.exec(ctx, t.r.text("DELETE FROM gtx_undo WHERE "+owners), args...)
	if err != nil {
		return 0, fmt.Errorf("delete undo rows: %w", err)
	}
	return int(n), nil
}

// dropByKey reads the keys first, without a lock: a delete by xid would take gap locks
// (rule T6). Between the read and the delete a row may only go from one of the owners
// to a stranger, and then it stays, or from one of them to another.
func (t *localTx) dropByKey(ctx context.Context, owners string, xids []any) (int, error) {
	keys := fmt.Sprintf("SELECT tbl, keyh FROM gtx_undo FORCE INDEX (gtx_undo_xid) WHERE %s LIMIT %d", owners, pageRows)
	for total := 0; ; {
		lines, err := t.query(ctx, keys, xids...)
		if err != nil {
			return total, fmt.Errorf("read keys of undo rows: %w", err)
		}
		slices.SortFunc(lines, slices.Compare) // one order for all who delete
		for from := 0; from < len(lines); {
			args, to := []any{lines[from][0]}, from
			for to < len(lines) && to-from < bulkRows && lines[to][0] == lines[from][0] {
				args = append(args, lines[to][1])
				to++
			}
			where := "tbl = ? AND keyh IN (?" + strings.Repeat(", ?", to-from-1) + ") AND " + owners
			if _, err := t.exec(ctx, t.deleteFrom("gtx_undo")+where, append(args, xids...)...); err != nil {
				return total, fmt.Errorf("delete undo rows: %w", err)
			}
			from = to
		}
		if total += len(lines); len(lines) < pageRows {
			return total, nil
		}
	}
}
