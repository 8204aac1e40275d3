package proxy

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// query runs catalogue look-ups on a base connection (undo.Query).
func (c *conn) query(ctx context.Context, text string, args ...any) ([][]string, error) {
	named := make([]driver.NamedValue, len(args))
	for i, a := range args {
		v, err := driver.DefaultParameterConverter.ConvertValue(a)
		if err != nil {
			return nil, fmt.Errorf("convert catalogue argument: %w", err)
		}
		named[i] = driver.NamedValue{Ordinal: i + 1, Value: v}
	}
	q, ok := c.base.(driver.QueryerContext)
	if !ok {
		return nil, c.mustPrepare()
	}
	rows, err := q.QueryContext(ctx, text, c.passing(named, false))
	switch {
	case errors.Is(err, driver.ErrSkip):
		return nil, c.mustPrepare()
	case err != nil:
		return nil, fmt.Errorf("query catalogue: %w", err)
	}
	out, err := readText(rows)
	return out, errors.Join(err, rows.Close())
}

// mustPrepare says why nothing can be captured on a base connection that Wrap should
// not have been given.
func (c *conn) mustPrepare() error {
	return &gtx.UnsupportedError{
		Code: "base-driver", Reason: fmt.Sprintf("a %T does not run texts, or none with arguments, without preparing them", c.base),
		Hint: "open it as driver.Wrap says, for MySQL with multiStatements=true&interpolateParams=true",
	}
}

// passing gives the arguments for a text that does not come again (Passing).
func (c *conn) passing(args []driver.NamedValue, users bool) []driver.NamedValue {
	if p, ok := c.res.Dialect.(Passing); ok {
		return p.Passing(args, users)
	}
	return args
}

func readText(rows driver.Rows) ([][]string, error) {
	dest := make([]driver.Value, len(rows.Columns()))
	var out [][]string
	for {
		switch err := rows.Next(dest); {
		case err == io.EOF: //nolint:errorlint // a wrapped one is a broken connection, not the end
			return out, nil
		case err != nil:
			return nil, fmt.Errorf("read catalogue: %w", err)
		}
		line := make([]string, len(dest))
		for i, v := range dest {
			switch v := v.(type) {
			case nil:
			case []byte:
				line[i] = string(v)
			case time.Time:
				line[i] = v.Format(time.RFC3339Nano)
			default:
				line[i] = fmt.Sprint(v)
			}
		}
		out = append(out, line)
	}
}
