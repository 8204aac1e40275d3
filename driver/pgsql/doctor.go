package pgsql

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/globaltx/globaltx/undo"
)

var _ undo.Doctor = Dialect{}

// longLockTimeout, in milliseconds, is how long a global transaction lives by
// default: a statement that waits longer for a row has waited in vain.
const longLockTimeout = 30_000

// Diagnose reads settings and privileges from the catalogue, with five questions.
func (d Dialect) Diagnose(ctx context.Context, q undo.Query) ([]undo.Finding, error) {
	rows, err := q(ctx, "SELECT name, setting FROM pg_catalog.pg_settings WHERE name IN ('server_version', 'standard_conforming_strings', 'client_encoding',"+
		" 'default_transaction_isolation', 'default_transaction_read_only', 'lock_timeout')"+
		" UNION ALL SELECT 'recovery', pg_catalog.pg_is_in_recovery()::text")
	if err != nil {
		return nil, fmt.Errorf("read settings: %w", err)
	}
	set := map[string]string{}
	for _, r := range rows {
		set[r[0]] = r[1]
	}
	out := []undo.Finding{{
		Name: "server", Level: undo.Info, Value: "PostgreSQL " + set["server_version"],
		Reason: "supported from " + strconv.Itoa(minVersion/10000),
	}}
	for _, name := range []string{"standard_conforming_strings", "client_encoding", "default_transaction_isolation"} {
		out = append(out, undo.Finding{Name: name, Level: undo.Info, Value: set[name]})
	}
	out = append(out, readOnly(set), lockWait(set["lock_timeout"]))
	prepare, err := prepareFinding(ctx, q)
	if err != nil {
		return nil, err
	}
	out = append(out, prepare)
	own, err := d.own(ctx, q)
	if err != nil {
		return nil, err
	}
	return append(out, own.Judge(d)...), nil
}

// readOnly is about rule A2: phase two runs on the primary only.
func readOnly(set map[string]string) undo.Finding {
	f := undo.Finding{Name: "read_only", Level: undo.Info, Value: "off"}
	switch {
	case isTrue(set["recovery"]):
		f.Level, f.Value, f.Reason, f.Hint = undo.Fail, "on", "the server is a standby", "connect to the primary"
	case set["default_transaction_read_only"] == "on":
		f.Level, f.Value, f.Reason, f.Hint = undo.Fail, "on", "default_transaction_read_only is on", "turn it off for this user"
	}
	return f
}

func lockWait(ms string) undo.Finding {
	f := undo.Finding{Name: "lock_timeout", Level: undo.Info, Value: ms + " ms"}
	switch n, err := strconv.Atoi(ms); {
	case err != nil:
	case n == 0:
		f.Value, f.Reason = "none", "a global transaction sets "+lockTimeout
	case n >= longLockTimeout:
		f.Level = undo.Warn
		f.Reason = fmt.Sprintf("a global transaction is aborted after %d ms by default, so a longer wait is in vain", longLockTimeout)
		f.Hint = "add lock_timeout=5000 to the DSN"
	}
	return f
}

// own looks at the tables of this module.
func (d Dialect) own(ctx context.Context, q undo.Query) (undo.OwnState, error) {
	s := undo.OwnState{Columns: map[string][]string{}, Lacks: map[string][]string{}}
	rows, err := q(ctx, "SELECT pg_catalog.has_schema_privilege(n.oid, 'USAGE'), pg_catalog.has_schema_privilege(n.oid, 'CREATE'),"+
		" COALESCE((SELECT pg_catalog.has_function_privilege(p.oid, 'EXECUTE')::text FROM pg_catalog.pg_proc AS p WHERE p.pronamespace = n.oid AND p.proname = 'gtx_image'"+
		" AND p.pronargs = 1 AND p.proargtypes[0] = 'pg_catalog.anyelement'::pg_catalog.regtype), 'none')"+
		" FROM pg_catalog.pg_namespace AS n WHERE n.nspname = "+literal(schemaName))
	if err != nil {
		return s, fmt.Errorf("read privileges on schema %s: %w", schemaName, err)
	}
	image := "none"
	switch {
	case len(rows) == 0:
		s.Create = "there is no schema " + schemaName
	case !isTrue(rows[0][0]):
		s.Create = "this user may not use the schema " + schemaName
	case !isTrue(rows[0][1]):
		s.Create = "this user may not create in the schema " + schemaName
	}
	if len(rows) > 0 {
		image = rows[0][2]
	}
	rows, err = q(ctx, "SELECT c.relname, a.attname, "+privileges("c.oid")+" FROM pg_catalog.pg_class AS c"+
		" JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"+
		" WHERE n.nspname = "+literal(schemaName)+" AND c.relname LIKE 'gtx\\_%' AND c.relkind = 'r' ORDER BY c.relname, a.attnum")
	if err != nil {
		return s, fmt.Errorf("read columns of the tables of globaltx: %w", err)
	}
	has := map[string][]string{}
	for _, r := range rows {
		s.Columns[r[0]] = append(s.Columns[r[0]], r[1])
		has[r[0]] = strings.Split(r[2], " ")
	}
	_, made := s.Columns["gtx_resource"]
	empty := false
	if made && slices.Contains(has["gtx_resource"], "SELECT") {
		found, err := q(ctx, "SELECT 1 FROM "+schemaName+".gtx_resource LIMIT 1")
		if err != nil && d.Classify(err) != undo.Denied {
			return s, fmt.Errorf("read gtx_resource: %w", err)
		}
		empty = err == nil && len(found) == 0
	}
	for table := range s.Columns {
		for _, p := range undo.Needs(table, empty) {
			if !slices.Contains(has[table], p) {
				s.Lacks[table] = append(s.Lacks[table], p)
			}
		}
	}
	switch _, ok := s.Columns["gtx_undo"]; {
	case ok && image == "none":
		delete(s.Columns, "gtx_undo") // they are made together: without the function it is not complete
	case ok && !isTrue(image):
		s.Lacks["gtx_undo"] = append(s.Lacks["gtx_undo"], "EXECUTE of "+funcImage)
	}
	return s, nil
}

// privileges gives the names of those that this user has on a relation.
func privileges(oid string) string {
	var list []string
	for _, p := range []string{"SELECT", "INSERT", "UPDATE", "DELETE"} {
		list = append(list, "CASE WHEN pg_catalog.has_table_privilege("+oid+", '"+p+"') THEN '"+p+"' END")
	}
	return "pg_catalog.concat_ws(' ', " + strings.Join(list, ", ") + ")"
}
