package undo

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// QueryDB makes a Query of a *sql.DB, *sql.Conn or *sql.Tx.
func QueryDB(q interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
},
) Query {
	return func(ctx context.Context, query string, args ...any) ([][]string, error) {
		rows, err := q.QueryContext(ctx, query, args...)
		if err != nil {
			return nil, err
		}
		defer rows.Close()
		columns, err := rows.Columns()
		if err != nil {
			return nil, fmt.Errorf("read columns of result: %w", err)
		}
		var out [][]string
		for rows.Next() {
			line := make([]sql.NullString, len(columns))
			dest := make([]any, len(columns))
			for i := range line {
				dest[i] = &line[i]
			}
			if err := rows.Scan(dest...); err != nil {
				return nil, fmt.Errorf("read row of result: %w", err)
			}
			texts := make([]string, len(columns))
			for i := range line {
				texts[i] = line[i].String
			}
			out = append(out, texts)
		}
		return out, rows.Err()
	}
}

// qualify names the schema of this module's tables, so that neither a search path
// nor a temporary table can stand in for them.
var qualify = map[string]*strings.Replacer{
	"postgres": inSchema("public"),
	"sqlite":   inSchema("main"),
}

func inSchema(schema string) *strings.Replacer {
	return strings.NewReplacer("gtx_resource", schema+".gtx_resource", "gtx_branch", schema+".gtx_branch",
		"gtx_undo", schema+".gtx_undo", "gtx_operator", schema+".gtx_operator")
}

// text puts the dialect's parameter markers for the question marks of one of this
// package's own statements.
func (r *Resolver) text(query string) string {
	if q := qualify[r.cfg.Dialect.Name()]; q != nil {
		query = q.Replace(query)
	}
	return Markers(r.cfg.Dialect, query)
}

// Markers puts the dialect's parameter markers for the question marks of a statement of this
// module's own, which has none inside a literal.
func Markers(d Dialect, query string) string {
	var b strings.Builder
	n := 0
	for {
		i := strings.IndexByte(query, '?')
		if i < 0 {
			b.WriteString(query)
			return b.String()
		}
		n++
		b.WriteString(query[:i])
		b.WriteString(d.Placeholder(n))
		query = query[i+1:]
	}
}

// forUpdate locks the rows of a query, where rows can be locked.
func (r *Resolver) forUpdate() string {
	if r.cfg.Dialect.Name() == "sqlite" {
		return ""
	}
	return " FOR UPDATE"
}
