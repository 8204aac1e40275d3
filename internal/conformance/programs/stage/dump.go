package stage

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"testing"
)

// dump gives every row of every table but our own, as text that tells any two
// different rows apart, sorted.
func (d *database) dump(ctx context.Context, t testing.TB) []string {
	t.Helper()
	tables, err := d.tables(ctx)
	if err != nil {
		t.Fatalf("list tables: %v", err)
	}
	var out []string
	for _, table := range tables {
		if strings.HasPrefix(table, "gtx_") {
			continue
		}
		rows, err := d.rows(ctx, table)
		if err != nil {
			t.Fatalf("read table %s: %v", table, err)
		}
		for i, row := range rows {
			rows[i] = table + ": " + row
		}
		slices.Sort(rows)
		out = append(out, rows...)
	}
	return out
}

var tableLists = map[string]string{
	"mysql": "SELECT table_name FROM information_schema.tables WHERE table_schema = database()" +
		" AND table_type = 'BASE TABLE' ORDER BY table_name",
	"postgres": "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p')" +
		" AND relnamespace = 'public'::regnamespace ORDER BY relname",
	"sqlite": "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name",
}

func (d *database) tables(ctx context.Context) ([]string, error) {
	return d.column(ctx, tableLists[d.kind.Dialect])
}

func (d *database) rows(ctx context.Context, table string) ([]string, error) {
	switch d.kind.Dialect {
	case "postgres":
		return d.column(ctx, `SELECT t::text FROM "`+table+`" t`)
	case "sqlite":
		columns, err := d.column(ctx, "SELECT 'quote(\"' || name || '\")' FROM pragma_table_info('"+table+"')")
		if err != nil {
			return nil, err
		}
		return d.column(ctx, "SELECT "+strings.Join(columns, " || ',' || ")+` FROM "`+table+`"`)
	}
	columns, err := d.column(ctx, "SELECT if(data_type REGEXP 'blob|binary|bit', concat('quote(hex(`', column_name, '`))'),"+
		" concat('quote(cast(`', column_name, '` AS char))')) FROM information_schema.columns"+
		" WHERE table_schema = database() AND table_name = '"+table+"' ORDER BY ordinal_position")
	if err != nil {
		return nil, err
	}
	return d.column(ctx, "SELECT concat_ws(',', "+strings.Join(columns, ", ")+") FROM `"+table+"`")
}

// column reads a query of one column.
func (d *database) column(ctx context.Context, query string) (out []string, err error) {
	rows, err := d.bare.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var v sql.NullString
		if err := rows.Scan(&v); err != nil {
			return nil, err
		}
		out = append(out, v.String)
	}
	return out, rows.Err()
}
