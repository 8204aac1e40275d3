package mysql

import (
	"strconv"
	"strings"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

// KeyHash gives the hash as capture writes it.
func (Dialect) KeyHash(t *undo.Table, ref string) string { return keyHash(ref, t) }

// Held finds the undo row through the primary key of gtx_undo.
func (Dialect) Held(t *undo.Table, ref string, own gtx.XID) string {
	return "(SELECT " + undoAlias + ".xid FROM gtx_undo AS " + undoAlias + " WHERE " + others(t.ID, own) + " AND " + undoAlias + ".keyh=" + keyHash(ref, t) + ")"
}

// HeldIn asks for whole keys, or for the table.
func (Dialect) HeldIn(id string, own gtx.XID, hashes []string) string {
	text := "SELECT " + undoAlias + ".xid FROM gtx_undo AS " + undoAlias + " WHERE " + others(id, own)
	if hashes != nil {
		text += " AND " + undoAlias + ".keyh IN ('" + strings.Join(hashes, "','") + "')"
	}
	return text + " LIMIT 1"
}

// HeldKeys reads along the primary key of gtx_undo.
func (Dialect) HeldKeys(id string, own gtx.XID, limit int) string {
	return "SELECT " + undoAlias + ".keyh FROM gtx_undo AS " + undoAlias + " WHERE " + others(id, own) + " LIMIT " + strconv.Itoa(limit)
}

// SeesNow is false: REPEATABLE READ shows gtx_undo as it was at the first
// consistent read of the local transaction. A locking read of gtx_undo would see
// it as it is, but locks the gap where no undo row is, against all captures.
func (Dialect) SeesNow() bool { return false }

// DirtySession asks by either name of the variable.
func (Dialect) DirtySession() string {
	return "SHOW VARIABLES WHERE Variable_name IN ('transaction_isolation', 'tx_isolation') AND Value = 'READ-UNCOMMITTED'"
}

// BoundWait is empty: innodb_lock_wait_timeout always bounds.
func (Dialect) BoundWait() string { return "" }

// Gapless asks by either name of the variable. Above READ COMMITTED the statements of
// capture that count and stamp undo rows by gtx_undo_xid lock to the next entry, or to
// the end of the index, where every new XID goes.
func (Dialect) Gapless() string {
	return "SHOW VARIABLES WHERE Variable_name IN ('transaction_isolation', 'tx_isolation') AND Value LIKE 'READ-%COMMITTED'"
}

// others is the condition for undo rows of a table that are not own's.
func others(id string, own gtx.XID) string {
	text := undoAlias + ".tbl=" + tableLiteral(&undo.Table{ID: id})
	if !own.IsZero() {
		text += " AND " + undoAlias + ".xid<>'" + own.String() + "'"
	}
	return text
}
