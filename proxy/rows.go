package proxy

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
)

// cut takes the last n columns away and gives their texts, row by row.
func (b *Buffer) cut(n int) [][]string {
	keep := len(b.columns) - n
	b.columns = b.columns[:keep]
	out := make([][]string, len(b.Lines))
	for i, row := range b.Lines {
		texts := make([]string, n)
		for j, v := range row[keep:] {
			switch v := v.(type) {
			case nil: // an outer join's, or nobody holds it
			case string:
				texts[j] = v
			case []byte:
				texts[j] = string(v)
			default: // no answer to what was asked: nothing takes it for one
				texts[j] = fmt.Sprint(v)
			}
		}
		out[i], b.Lines[i] = texts, row[:keep:keep]
	}
	return out
}

// rows runs a query on the base connection, as the caller's way of sending it
// would, and reads it to its end.
func (c *conn) rows(ctx context.Context, text string, args []driver.NamedValue, prepare bool) (*Buffer, error) {
	if q, ok := c.base.(driver.QueryerContext); ok && !prepare {
		rows, err := q.QueryContext(ctx, text, args)
		if err == nil {
			return DrainRows(rows)
		}
		if !errors.Is(err, driver.ErrSkip) {
			return nil, err
		}
	}
	p, ok := c.base.(driver.ConnPrepareContext)
	if !ok {
		return nil, fmt.Errorf("prepare statement: %T takes no context", c.base)
	}
	st, err := p.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	q, ok := st.(driver.StmtQueryContext)
	if !ok {
		return nil, errors.Join(fmt.Errorf("query statement: %T takes no context", st), st.Close())
	}
	rows, err := q.QueryContext(ctx, args)
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	b, err := DrainRows(rows)
	if cerr := st.Close(); err == nil && cerr != nil {
		return nil, cerr
	}
	return b, err
}
