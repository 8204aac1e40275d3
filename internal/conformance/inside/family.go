package inside

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// family is how a whole database is read on the base driver.
type family struct {
	// self names the database, the same for every DSN that leads to it.
	self string
	// columns lists the columns of the user's tables: schema, table, column, type; in
	// order of table and place. A column of no name stands for a table without columns.
	columns string
	quote   string // of identifiers
	// exact gives the expression that shows a column's value exactly, as text or bytes.
	exact func(column, typ string) string
	only  string // between FROM and the table
	// patience is what a connection runs first, so that it waits for locks. Empty: the
	// server lets readers wait as it is.
	patience string
}

var families = map[string]family{"mysql": mysqlFamily, "postgres": postgresFamily, "pgx": postgresFamily, "sqlite": sqliteFamily}

func familyOf(base string) (family, error) {
	f, ok := families[base]
	if !ok {
		return f, fmt.Errorf("it is not known how to read a database of driver %q", base)
	}
	return f, nil
}

var mysqlFamily = family{
	self: "SELECT CONCAT('mysql ', @@hostname, ':', @@port, '/', COALESCE(DATABASE(), ''))",
	// Capture takes tables of other databases too, but no suite writes to any.
	columns: `SELECT '', c.table_name, c.column_name, c.data_type
		FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)
		WHERE c.table_schema = DATABASE() AND t.table_type = 'BASE TABLE' AND c.table_name NOT LIKE 'gtx\_%'
		ORDER BY c.table_name, c.ordinal_position`,
	quote: "`",
	exact: func(c, typ string) string {
		switch strings.ToLower(typ) {
		case "float": // the server shows six digits
			return "CAST(" + c + " + 0e0 AS CHAR)"
		case "double", "decimal", "json", "date", "time", "datetime", "timestamp", "year",
			"tinyint", "smallint", "mediumint", "int", "bigint":
			return "CAST(" + c + " AS CHAR)" // the driver would make a time.Time
		}
		return "HEX(" + c + ")"
	},
}

var postgresFamily = family{
	self: "SELECT 'postgres ' || current_setting('port') || '/' || current_database()",
	columns: `SELECT n.nspname, c.relname, COALESCE(a.attname, ''), COALESCE(a.atttypid::regtype::text, '')
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
		AND c.relname NOT LIKE 'gtx\_%'
		ORDER BY n.nspname, c.relname, a.attnum`,
	quote: `"`,
	exact: func(c, _ string) string { return c + "::text" },
	only:  "ONLY ",
}

var sqliteFamily = family{
	self: "SELECT 'sqlite ' || file FROM pragma_database_list WHERE name = 'main'",
	columns: `SELECT '', m.name, p.name, p.type FROM sqlite_schema m JOIN pragma_table_xinfo(m.name) p
		WHERE m.type = 'table' AND m.name NOT LIKE 'gtx\_%' ESCAPE '\' AND m.name NOT LIKE 'sqlite\_%' ESCAPE '\'
		AND m.sql NOT LIKE 'CREATE VIRTUAL%'
		ORDER BY m.name, p.cid`,
	quote: `"`,
	// Phase two may be asked twice, and its second look has the database locked for a
	// moment although nothing is left to do.
	patience: "PRAGMA busy_timeout = 30000",
	exact: func(c, _ string) string {
		return "typeof(" + c + ") || ' ' || CASE typeof(" + c + ") WHEN 'real' THEN printf('%!.17g', " + c + ") ELSE quote(" + c + ") END"
	},
}

// ident quotes an identifier.
func (f family) ident(name string) string {
	return f.quote + strings.ReplaceAll(name, f.quote, f.quote+f.quote) + f.quote
}

type querier interface {
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
}

// read gives all rows of a query as text; NULL is "NULL", everything else in quotes.
func (f family) read(ctx context.Context, q querier, query string) (_ [][]string, err error) {
	rows, err := q.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	values := make([]any, len(names))
	into := make([]any, len(names))
	for i := range values {
		into[i] = &values[i]
	}
	var out [][]string
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		row := make([]string, len(values))
		for i, v := range values {
			row[i] = show(v)
		}
		out = append(out, row)
	}
	return out, rows.Err()
}

func show(v any) string {
	switch v := v.(type) {
	case nil:
		return "NULL"
	case []byte:
		return strconv.Quote(string(v))
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	case string:
		return strconv.Quote(v)
	}
	return fmt.Sprint(v)
}
