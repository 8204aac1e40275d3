package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/internal/bank"
)

// checkLog compares the decision log with the databases: a transfer stands in
// them if and only if one of its XIDs is committed, and no commit record is
// there that nobody asked for.
func checkLog(h *history, v *verdicts, there map[string]bool) (bad []string) {
	known := 0
	for id, xids := range h.tries {
		n := 0
		for _, xid := range xids {
			if v.of(xid) == gtx.Committed.String() {
				n++
			}
		}
		known += n
		if n > 1 || (n == 1) != there[id] {
			bad = append(bad, fmt.Sprintf("transfer %s: %d commit records for %v, in the databases: %t", id, n, xids, there[id]))
		}
	}
	for id := range there {
		if len(h.tries[id]) == 0 {
			bad = append(bad, fmt.Sprintf("transfer %s stands in the databases and was never tried", id))
		}
	}
	if known != v.commits {
		bad = append(bad, fmt.Sprintf("the log holds %d commit records, %d of them are known", v.commits, known))
	}
	slices.Sort(bad)
	return bad
}

// outcomes gives what was told of the transfers of one route, for bank.Check.
// What was unknown is what the coordinator answers now; what it no longer knows
// may have gone either way (rule C5), which checkLog finds out.
func outcomes(ctx context.Context, h *history, prefixes func(id string) bool, c gtx.Coordinator) (map[string]gtx.Status, error) {
	told := map[string]gtx.Status{}
	for id, a := range h.told {
		if !prefixes(id) {
			continue
		}
		switch a.status {
		case gtx.Committed.String():
			told[id] = gtx.Committed
		case gtx.Aborted.String():
			told[id] = gtx.Aborted
		default:
			st, err := settle(ctx, c, a.xid)
			if err != nil {
				return nil, fmt.Errorf("ask for the outcome of %s (%s): %w", id, a.xid, err)
			}
			told[id] = st
		}
	}
	return told, nil
}

// settle asks until the answer is final (rule C4).
func settle(ctx context.Context, c gtx.Coordinator, xid string) (gtx.Status, error) {
	x, err := gtx.ParseXID(xid)
	if err != nil {
		return 0, err
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		st, err := c.Outcome(ctx, x)
		switch {
		case err == nil && st == gtx.Expired:
			return gtx.Pending, nil
		case err == nil && st != gtx.Pending:
			return st, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return st, errors.Join(ctx.Err(), err)
		}
	}
}

// transfers gives the IDs that stand in the first of two banks; bank.Check
// has compared it with the second.
func transfers(ctx context.Context, side bank.Side, name string) (map[string]bool, error) {
	rows, err := side.DB.QueryContext(ctx, "SELECT id FROM "+name+"_a_transfer")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	ids := map[string]bool{}
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids[id] = true
	}
	return ids, rows.Err()
}
