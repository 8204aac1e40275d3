package pgsql

import (
	"bytes"
	"database/sql/driver"
	"io"
	"reflect"
)

var (
	_ driver.RowsColumnTypeScanType         = (*buffer)(nil)
	_ driver.RowsColumnTypeDatabaseTypeName = (*buffer)(nil)
	_ driver.RowsColumnTypeLength           = (*buffer)(nil)
	_ driver.RowsColumnTypePrecisionScale   = (*buffer)(nil)
)

// buffer is a result read to its end: nothing of it may reach the caller before
// the counts of the whole statement are known to be right.
type buffer struct {
	cols []column
	rows [][]driver.Value
	next int
}

// column is what the base driver tells of a result column.
type column struct {
	name             string
	scan             reflect.Type
	dbType           string
	length           int64
	hasLength        bool
	precision, scale int64
	hasDecimal       bool
}

// readAll reads rows to the end; it does not close them.
func readAll(rows driver.Rows) (*buffer, error) {
	names := rows.Columns()
	b := &buffer{cols: make([]column, len(names))}
	for i, name := range names {
		c := column{name: name, scan: reflect.TypeFor[any]()}
		if r, ok := rows.(driver.RowsColumnTypeScanType); ok {
			c.scan = r.ColumnTypeScanType(i)
		}
		if r, ok := rows.(driver.RowsColumnTypeDatabaseTypeName); ok {
			c.dbType = r.ColumnTypeDatabaseTypeName(i)
		}
		if r, ok := rows.(driver.RowsColumnTypeLength); ok {
			c.length, c.hasLength = r.ColumnTypeLength(i)
		}
		if r, ok := rows.(driver.RowsColumnTypePrecisionScale); ok {
			c.precision, c.scale, c.hasDecimal = r.ColumnTypePrecisionScale(i)
		}
		b.cols[i] = c
	}
	for {
		row := make([]driver.Value, len(names))
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

// strip removes the first n columns.
func (b *buffer) strip(n int) {
	b.cols = b.cols[n:]
	for i, row := range b.rows {
		b.rows[i] = row[n:]
	}
}

// Columns gives the names.
func (b *buffer) Columns() []string {
	names := make([]string, len(b.cols))
	for i, c := range b.cols {
		names[i] = c.name
	}
	return names
}

// Close drops what has not been read.
func (b *buffer) Close() error {
	b.next = len(b.rows)
	return nil
}

// Next gives one row, then io.EOF.
func (b *buffer) Next(dest []driver.Value) error {
	if b.next >= len(b.rows) {
		return io.EOF
	}
	copy(dest, b.rows[b.next])
	b.next++
	return nil
}

// ColumnTypeScanType answers as the base driver did.
func (b *buffer) ColumnTypeScanType(i int) reflect.Type { return b.cols[i].scan }

// ColumnTypeDatabaseTypeName answers as the base driver did.
func (b *buffer) ColumnTypeDatabaseTypeName(i int) string { return b.cols[i].dbType }

// ColumnTypeLength answers as the base driver did.
func (b *buffer) ColumnTypeLength(i int) (int64, bool) { return b.cols[i].length, b.cols[i].hasLength }

// ColumnTypePrecisionScale answers as the base driver did.
func (b *buffer) ColumnTypePrecisionScale(i int) (precision, scale int64, ok bool) {
	return b.cols[i].precision, b.cols[i].scale, b.cols[i].hasDecimal
}
