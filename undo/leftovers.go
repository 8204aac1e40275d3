package undo

import (
	"context"
	"fmt"
)

// leftoversOf are the queries for the first XIDs behind one, by dialect, with a verb for
// their number. What they cost must not grow with the undo rows of one XID, nor with
// the XIDs behind the limit: MySQL hops from XID to XID by itself, the others are made to.
var leftoversOf = map[string]string{
	"mysql":    "SELECT xid FROM (SELECT DISTINCT xid FROM gtx_undo FORCE INDEX (gtx_undo_xid) WHERE xid > ? ORDER BY xid" + orHeader,
	"postgres": hop + orHeader,
	"sqlite":   hop + orHeader,
}

const (
	hop = "WITH RECURSIVE hop (xid) AS (SELECT (SELECT MIN(xid) FROM gtx_undo WHERE xid > ?) UNION ALL" +
		" SELECT (SELECT MIN(u.xid) FROM gtx_undo AS u WHERE u.xid > hop.xid) FROM hop WHERE hop.xid IS NOT NULL)" +
		" SELECT xid FROM (SELECT xid FROM hop WHERE xid IS NOT NULL"
	orHeader = " LIMIT %[1]d) AS u UNION SELECT xid FROM" +
		" (SELECT DISTINCT xid FROM gtx_branch WHERE xid > ? ORDER BY xid LIMIT %[1]d) AS b ORDER BY xid LIMIT %[1]d"
)

// Leftovers implements Store. A plain read: it sees committed headers only.
func (s sqlStore) Leftovers(ctx context.Context, after string, limit int) ([]string, error) {
	text := fmt.Sprintf(leftoversOf[s.r.cfg.Dialect.Name()], limit)
	lines, err := QueryDB(s.r.cfg.DB)(ctx, s.r.text(text), after, after)
	if err != nil {
		return nil, err
	}
	xids := make([]string, len(lines))
	for i, l := range lines {
		xids[i] = l[0]
	}
	return xids, nil
}
