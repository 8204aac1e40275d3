package pgsql

import (
	"strconv"
	"strings"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/undo"
)

// KeyHash gives the hash as capture writes it, and looks whether the name of the
// table still means it on this connection: search_path may have changed.
func (Dialect) KeyHash(t *undo.Table, ref string) string {
	return "CASE WHEN " + moved(t, ref) + " THEN '" + proxy.Moved + "' ELSE " + keyHash(t, ref) + " END"
}

// Held finds the undo row through the primary key of gtx_undo.
func (Dialect) Held(t *undo.Table, ref string, own gtx.XID) string {
	return "CASE WHEN " + moved(t, ref) + " THEN '" + proxy.Moved + "' ELSE (SELECT gtx_u.xid FROM " + tableUndo + " AS gtx_u WHERE " + others(t.ID, own) +
		" AND gtx_u.keyh = " + keyHash(t, ref) + ") END"
}

func moved(t *undo.Table, ref string) string {
	if a := readAttr(t); a.partition() || a.kind == "p" { // the row says which partition it is in
		return "(" + ref + ".tableoid IS NOT NULL AND NOT EXISTS (SELECT FROM pg_catalog.pg_partition_ancestors(" + ref + ".tableoid) AS gtx_a (relid)" +
			" WHERE gtx_a.relid = " + literal(t.ID) + "::pg_catalog.regclass))"
	}
	return ref + ".tableoid <> " + literal(t.ID) + "::pg_catalog.regclass"
}

// HeldIn asks for whole keys, or for the table.
func (Dialect) HeldIn(id string, own gtx.XID, hashes []string) string {
	text := "SELECT gtx_u.xid FROM " + tableUndo + " AS gtx_u WHERE " + others(id, own)
	if hashes != nil {
		text += " AND gtx_u.keyh IN ('" + strings.Join(hashes, "', '") + "')"
	}
	return text + " LIMIT 1"
}

// HeldKeys reads along the primary key of gtx_undo.
func (Dialect) HeldKeys(id string, own gtx.XID, limit int) string {
	return "SELECT gtx_u.keyh FROM " + tableUndo + " AS gtx_u WHERE " + others(id, own) + " LIMIT " + strconv.Itoa(limit)
}

// SeesNow is true: under READ COMMITTED every statement has its own snapshot, and
// under the stricter levels a row that was changed since the snapshot cannot be
// locked (40001).
func (Dialect) SeesNow() bool { return true }

// DirtySession is empty: READ UNCOMMITTED is READ COMMITTED.
func (Dialect) DirtySession() string { return "" }

// BoundWait sets lock_timeout for this local transaction when the session has
// none (rule W5).
func (Dialect) BoundWait() string {
	return "(SELECT CASE WHEN pg_catalog.current_setting('lock_timeout') = '0'" +
		" THEN pg_catalog.set_config('lock_timeout', '" + lockTimeout + "', true) ELSE '' END) IS NOT NULL"
}

// others is the condition for undo rows of a table that are not own's.
func others(id string, own gtx.XID) string {
	text := "gtx_u.tbl = " + literal(id)
	if !own.IsZero() {
		text += " AND gtx_u.xid <> " + literal(own.String())
	}
	return text
}
