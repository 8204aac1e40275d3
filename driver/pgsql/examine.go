package pgsql

import (
	"context"
	"fmt"
	"strconv"

	"github.com/globaltx/globaltx/undo"
)

// Relations lists tables and views of every schema that this user may use,
// without the members of extensions and temporary tables. The estimates are those
// of the last ANALYZE.
func (d Dialect) Relations(ctx context.Context, q undo.Query) ([]undo.Relation, error) {
	rows, err := q(ctx, "SELECT n.nspname, c.relname, c.relkind, c.reltuples::int8,"+
		" CASE WHEN c.reltuples > 0 THEN (pg_catalog.pg_table_size(c.oid) / c.reltuples)::int8 ELSE -1 END"+
		" FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace"+
		" WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'"+
		" AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')"+
		" AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS e WHERE e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND e.objid = c.oid AND e.deptype = 'e')"+
		" ORDER BY n.nspname, c.relname")
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	own := map[string]bool{}
	for _, t := range undo.OwnTables(d) {
		own[t.Name] = true
	}
	kinds := map[string]string{"r": "table", "p": "partitioned table", "v": "view", "m": "materialized view", "f": "foreign table"}
	var out []undo.Relation
	for _, r := range rows {
		if r[0] == schemaName && own[r[1]] {
			continue
		}
		count, err := strconv.ParseInt(r[3], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read estimate of %s: %w", r[1], err)
		}
		width, err := strconv.ParseInt(r[4], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read width of %s: %w", r[1], err)
		}
		out = append(out, undo.Relation{
			ID: ident(r[0]) + "." + ident(r[1]), Name: undo.ShowName(r[0], r[1]), Kind: kinds[r[2]],
			Rows: r[2] != "v" && r[2] != "m", Count: count, Width: width, Widest: undo.Unknown,
		})
	}
	return out, nil
}

// Examine reads the privileges column by column: a user may have been granted some
// of them only.
func (Dialect) Examine(ctx context.Context, q undo.Query, t *undo.Table, _ undo.Relation) ([]undo.Finding, error) {
	has := func(privilege string) string {
		return "pg_catalog.has_column_privilege(a.attrelid, a.attnum, '" + privilege + "')"
	}
	const writable = " FILTER (WHERE a.attgenerated = '')"
	const settable = " FILTER (WHERE a.attgenerated = '' AND a.attidentity <> 'a')"
	rows, err := q(ctx, "SELECT bool_and("+has("SELECT")+"), COALESCE(bool_or("+has("INSERT")+")"+writable+", false), COALESCE(bool_and("+has("INSERT")+")"+writable+", true),"+
		" COALESCE(bool_or("+has("UPDATE")+")"+writable+", false), COALESCE(bool_and("+has("UPDATE")+")"+settable+", true),"+
		" bool_or(pg_catalog.has_table_privilege(a.attrelid, 'DELETE'))"+
		" FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = pg_catalog.to_regclass("+literal(t.ID)+") AND a.attnum > 0 AND NOT a.attisdropped")
	if err != nil {
		return nil, fmt.Errorf("read privileges on %s: %w", t.Name, err)
	}
	if len(rows) != 1 {
		return nil, fmt.Errorf("read privileges on %s: %d rows", t.Name, len(rows))
	}
	r := rows[0]
	return undo.Access{
		Select: isTrue(r[0]), InsertSome: isTrue(r[1]), InsertAll: isTrue(r[2]), UpdateSome: isTrue(r[3]), UpdateAll: isTrue(r[4]), Delete: isTrue(r[5]),
		Reinserts: replaced(t), LockByUpdate: true,
	}.Judge(), nil
}
