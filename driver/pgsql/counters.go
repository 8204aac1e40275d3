package pgsql

import (
	"context"
	"database/sql/driver"
	"fmt"
	"slices"
	"strings"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

var _ proxy.Counter = Dialect{}

// countersOf takes gtx_counters out of the parameters.
func countersOf(params map[string]string) (bool, error) {
	const name = "gtx_counters"
	value, ok := params[name]
	delete(params, name)
	switch {
	case !ok, value == "off":
		return false, nil
	case value == "on":
		return true, nil
	}
	return false, fmt.Errorf("open database: DSN parameter %s=%q: want on or off", name, value)
}

// changesQuery sums the counters of this session, see the manual's chapter on the
// cumulative statistics system. They may start above 0, go on counting what ROLLBACK
// TO took back, and a row that moves to another partition counts twice. Catalogue
// and temporary tables are left out.
var changesQuery = func() string {
	var own []string
	for _, t := range undo.OwnTables(Dialect{}) {
		own = append(own, literal(t.Name))
	}
	return "SELECT pg_catalog.current_setting('track_counts') = 'on', COALESCE(sum(pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid)" +
		" + pg_catalog.pg_stat_get_xact_tuples_updated(c.oid) + pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid)), 0)::int8" +
		" FROM pg_catalog.pg_class AS c WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND c.oid >= 16384" +
		" AND NOT (c.relname IN (" + strings.Join(own, ", ") + ") AND c.relnamespace = '" + schemaName + "'::pg_catalog.regnamespace)"
}()

// Changes counts by the server's own counters.
func (d Dialect) Changes(ctx context.Context, c driver.Conn) (int64, bool, error) {
	if !d.counters {
		return 0, false, nil
	}
	row, err := d.queryRow(ctx, c, changesQuery)
	switch {
	case err != nil:
		return 0, false, err
	case row[0] != true:
		return 0, false, &gtx.UnsupportedError{Code: "session", Reason: "track_counts is off, and gtx_counters=on relies on it", Hint: "SET track_counts = on"}
	}
	return asInt(row[1]), true, nil
}

// Calls gives a function that is not known to write nothing.
func (d Dialect) Calls(s *sqltext.Statement) string {
	if !d.counters || s.Kind != sqltext.Select {
		return ""
	}
	i := slices.IndexFunc(s.Functions, func(name string) bool { return !repeatable[name] && !harmless[name] })
	if i < 0 {
		return ""
	}
	return s.Functions[i]
}

// harmless are functions that may answer differently, and write no row.
var harmless = map[string]bool{
	"random": true, "clock_timestamp": true, "timeofday": true, "gen_random_uuid": true, "pg_sleep": true, "nextval": true, "currval": true, "lastval": true,
	"version": true, "pg_backend_pid": true, "txid_current": true, "pg_current_xact_id": true, "count": true, "to_regclass": true, "session_user": true, "current_catalog": true,
}

// MayWrite is for mode XA, see Calls.
func (Dialect) MayWrite(s *sqltext.Statement) bool {
	return slices.ContainsFunc(s.Functions, func(name string) bool { return !repeatable[name] && !harmless[name] })
}

// WroteQuery asks for a transaction ID, which a local transaction gets when it first
// writes.
func (Dialect) WroteQuery() string {
	return "SELECT 1 WHERE pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL"
}

// Blurs tells that a change of r may be uncountable.
func (Dialect) Blurs(r *proxy.Capture) bool {
	blurs := func(s *sqltext.Statement, t *undo.Table) bool {
		return len(s.Upserts) > 0 || t != nil && readAttr(t).kind == "p"
	}
	for i, m := range r.Members {
		if m != nil && blurs(r.Stmt.CTEs[i].Write, m) {
			return true
		}
	}
	return blurs(r.Stmt, r.Table)
}

// uncountable tells that the server may count more changes than rows: moves between
// partitions, and new rows that were given up because another session made them first.
func (w *writer) uncountable() bool {
	ops := w.ops()
	return len(w.Stmt.Upserts) > 0 || readAttr(w.Table).kind == "p" && slices.Contains(ops, undo.Update) && len(ops) > 1
}
