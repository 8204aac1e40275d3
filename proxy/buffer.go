package proxy

import (
	"bytes"
	"database/sql/driver"
	"io"
	"reflect"
)

var (
	_ driver.RowsColumnTypeScanType         = (*Buffer)(nil)
	_ driver.RowsColumnTypeDatabaseTypeName = (*Buffer)(nil)
	_ driver.RowsColumnTypeLength           = (*Buffer)(nil)
	_ driver.RowsColumnTypeNullable         = (*Buffer)(nil)
	_ driver.RowsColumnTypePrecisionScale   = (*Buffer)(nil)
)

// Buffer is a result that has been read to its end, with what its driver said about
// the columns: nothing of it may reach the caller before all of it is known to be
// right. Where the rows of the base driver lack an optional interface, the buffer answers
// what database/sql says of such rows. The zero value is a result without columns.
type Buffer struct {
	// Lines are the rows. They may be changed until Next is called.
	Lines [][]driver.Value

	columns []columnType
	next    int
}

// columnType is what the optional interfaces of driver.Rows tell.
type columnType struct {
	name, database                   string
	scan                             reflect.Type
	length, precision, scale         int64
	nullable                         bool
	hasLength, hasScale, hasNullable bool
}

// ReadRows reads one result of rows to its end, and leaves them open. Errors are those
// of rows.
func ReadRows(rows driver.Rows) (*Buffer, error) {
	b := &Buffer{}
	for i, name := range rows.Columns() { // now: some drivers forget them
		b.columns = append(b.columns, typeOf(rows, i, name))
	}
	for {
		line := make([]driver.Value, len(b.columns))
		if err := rows.Next(line); err == io.EOF { //nolint:errorlint // a wrapped one is a broken connection, not the end
			return b, nil
		} else if err != nil {
			return nil, err
		}
		for i, v := range line {
			if raw, ok := v.([]byte); ok { // the driver's own until the next row
				line[i] = bytes.Clone(raw)
			}
		}
		b.Lines = append(b.Lines, line)
	}
}

// DrainRows is ReadRows, and closes rows. It reads all, so that errors which come after
// the first row are seen and the connection is free again.
func DrainRows(rows driver.Rows) (*Buffer, error) {
	b, err := ReadRows(rows)
	if cerr := rows.Close(); err == nil && cerr != nil {
		return nil, cerr
	}
	return b, err
}

func typeOf(r driver.Rows, i int, name string) columnType {
	c := columnType{name: name, scan: reflect.TypeFor[any]()}
	if t, ok := r.(driver.RowsColumnTypeScanType); ok {
		c.scan = t.ColumnTypeScanType(i)
	}
	if t, ok := r.(driver.RowsColumnTypeDatabaseTypeName); ok {
		c.database = t.ColumnTypeDatabaseTypeName(i)
	}
	if t, ok := r.(driver.RowsColumnTypeLength); ok {
		c.length, c.hasLength = t.ColumnTypeLength(i)
	}
	if t, ok := r.(driver.RowsColumnTypeNullable); ok {
		c.nullable, c.hasNullable = t.ColumnTypeNullable(i)
	}
	if t, ok := r.(driver.RowsColumnTypePrecisionScale); ok {
		c.precision, c.scale, c.hasScale = t.ColumnTypePrecisionScale(i)
	}
	return c
}

// Width is the number of columns.
func (b *Buffer) Width() int { return len(b.columns) }

// Strip removes the first n columns, which must be there.
func (b *Buffer) Strip(n int) {
	b.columns = b.columns[n:]
	for i, line := range b.Lines {
		b.Lines[i] = line[n:]
	}
}

// Columns gives the names.
func (b *Buffer) Columns() []string {
	names := make([]string, len(b.columns))
	for i := range b.columns {
		names[i] = b.columns[i].name
	}
	return names
}

// Close drops what has not been read.
func (b *Buffer) Close() error {
	b.next = len(b.Lines)
	return nil
}

// Next gives one row, then io.EOF.
func (b *Buffer) Next(dest []driver.Value) error {
	if b.next >= len(b.Lines) {
		return io.EOF
	}
	copy(dest, b.Lines[b.next])
	b.next++
	return nil
}

// ColumnTypeScanType is the base driver's answer, else that of an any.
func (b *Buffer) ColumnTypeScanType(i int) reflect.Type { return b.columns[i].scan }

// ColumnTypeDatabaseTypeName is the base driver's answer, else "".
func (b *Buffer) ColumnTypeDatabaseTypeName(i int) string { return b.columns[i].database }

// ColumnTypeLength is the base driver's answer, else not known.
func (b *Buffer) ColumnTypeLength(i int) (int64, bool) {
	return b.columns[i].length, b.columns[i].hasLength
}

// ColumnTypeNullable is the base driver's answer, else not known.
func (b *Buffer) ColumnTypeNullable(i int) (nullable, ok bool) {
	return b.columns[i].nullable, b.columns[i].hasNullable
}

// ColumnTypePrecisionScale is the base driver's answer, else not known.
func (b *Buffer) ColumnTypePrecisionScale(i int) (precision, scale int64, ok bool) {
	return b.columns[i].precision, b.columns[i].scale, b.columns[i].hasScale
}

// buffers gives results one after the other.
type buffers struct {
	*Buffer // the current one
	more    []*Buffer
}

var _ driver.RowsNextResultSet = (*buffers)(nil)

func (r *buffers) HasNextResultSet() bool { return len(r.more) > 0 }

func (r *buffers) NextResultSet() error {
	if !r.HasNextResultSet() {
		return io.EOF
	}
	r.Buffer, r.more = r.more[0], r.more[1:]
	return nil
}
