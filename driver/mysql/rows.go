package mysql

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"reflect"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

var (
	_ driver.RowsColumnTypeScanType         = (*buffer)(nil)
	_ driver.RowsColumnTypeDatabaseTypeName = (*buffer)(nil)
	_ driver.RowsColumnTypeNullable         = (*buffer)(nil)
	_ driver.RowsColumnTypePrecisionScale   = (*buffer)(nil)
)

// buffer is a result read to its end: nothing of RETURNING may reach the caller
// before the rest of the packet is known to be right.
type buffer struct {
	names []string
	types []columnType
	rows  [][]driver.Value
	next  int
}

// columnType is what the base driver tells of a result column.
type columnType struct {
	scan                  reflect.Type
	dbType                string
	nullable, hasNullable bool
	precision, scale      int64
	hasScale              bool
}

// readAll reads one result to its end; it does not close rows.
func readAll(rows driver.Rows) (*buffer, error) {
	b := &buffer{names: rows.Columns()}
	for i := range b.names {
		c := columnType{scan: reflect.TypeFor[any]()}
		if r, ok := rows.(driver.RowsColumnTypeScanType); ok {
			c.scan = r.ColumnTypeScanType(i)
		}
		if r, ok := rows.(driver.RowsColumnTypeDatabaseTypeName); ok {
			c.dbType = r.ColumnTypeDatabaseTypeName(i)
		}
		if r, ok := rows.(driver.RowsColumnTypeNullable); ok {
			c.nullable, c.hasNullable = r.ColumnTypeNullable(i)
		}
		if r, ok := rows.(driver.RowsColumnTypePrecisionScale); ok {
			c.precision, c.scale, c.hasScale = r.ColumnTypePrecisionScale(i)
		}
		b.types = append(b.types, c)
	}
	for {
		row := make([]driver.Value, len(b.names))
		if err := rows.Next(row); err == io.EOF { //nolint:errorlint // a wrapped one is a broken connection, not the end
			return b, nil
		} else if err != nil {
			return nil, err
		}
		for i, v := range row {
			if raw, ok := v.([]byte); ok { // valid until the next row only
				row[i] = bytes.Clone(raw)
			}
		}
		b.rows = append(b.rows, row)
	}
}

// Columns gives the names.
func (b *buffer) Columns() []string { return b.names }

// Close has nothing to free.
func (b *buffer) Close() error { return nil }

// Next gives the next row.
func (b *buffer) Next(dest []driver.Value) error {
	if b.next == len(b.rows) {
		return io.EOF
	}
	copy(dest, b.rows[b.next])
	b.next++
	return nil
}

// ColumnTypeScanType is the base driver's answer.
func (b *buffer) ColumnTypeScanType(i int) reflect.Type { return b.types[i].scan }

// ColumnTypeDatabaseTypeName is the base driver's answer.
func (b *buffer) ColumnTypeDatabaseTypeName(i int) string { return b.types[i].dbType }

// ColumnTypeNullable is the base driver's answer.
func (b *buffer) ColumnTypeNullable(i int) (nullable, ok bool) {
	return b.types[i].nullable, b.types[i].hasNullable
}

// ColumnTypePrecisionScale is the base driver's answer.
func (b *buffer) ColumnTypePrecisionScale(i int) (precision, scale int64, ok bool) {
	return b.types[i].precision, b.types[i].scale, b.types[i].hasScale
}

// answer is what a packet gave.
type answer struct {
	rows, ids []int64 // of each statement; nil with RETURNING
	returned  *buffer // of RETURNING, else nil
	counted   int64   // @gtx_got, with RETURNING; notCounted for NULL
}

// notCounted: other counts prove the capture.
const notCounted = -1

// returns tells whether the user's statement gives rows.
func returns(s *sqltext.Statement) bool { return s.Returning != (sqltext.Span{}) }

// run sends the packet. With RETURNING the server tells no counts; then the packet
// ends by asking for @gtx_got, the number of undo rows that the form has put there.
func (p *packet) run(ctx context.Context, c driver.Conn) (answer, error) {
	if !returns(p.stmt) {
		res, err := p.exec(ctx, c)
		if err != nil {
			return answer{}, err
		}
		return answer{rows: res.AllRowsAffected(), ids: res.AllLastInsertIds()}, nil
	}
	p.next()
	p.add("SELECT @gtx_got")
	text, err := p.sendable()
	if err != nil {
		return answer{}, err
	}
	q, ok := c.(driver.QueryerContext)
	if !ok {
		return answer{}, fmt.Errorf("query through %T: not a driver.QueryerContext", c)
	}
	rows, err := q.QueryContext(ctx, text, p.args)
	if err != nil {
		return answer{}, err
	}
	a, err := readAnswer(rows)
	// Close reads on after an error, and then says nothing new.
	if cerr := rows.Close(); err == nil && cerr != nil {
		err = cerr
	}
	return a, err
}

// readAnswer reads the rows of RETURNING and the count behind them.
func readAnswer(rows driver.Rows) (a answer, err error) {
	if a.returned, err = readAll(rows); err != nil {
		return a, err
	}
	more, ok := rows.(driver.RowsNextResultSet)
	if !ok {
		return a, fmt.Errorf("read results: %T has one result only", rows)
	}
	if err := more.NextResultSet(); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("read results: the count behind RETURNING is missing")
		}
		return a, err
	}
	last, err := readAll(rows)
	if err != nil {
		return a, err
	}
	if len(last.rows) != 1 || len(last.names) != 1 {
		return a, fmt.Errorf("read results: %d rows behind RETURNING", len(last.rows))
	}
	switch n := last.rows[0][0].(type) {
	case nil:
		a.counted = notCounted
	case int64:
		a.counted = n
	default:
		return a, fmt.Errorf("read results: the count behind RETURNING is a %T", n)
	}
	return a, nil
}
