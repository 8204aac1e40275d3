package proxy

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
)

// rowSet is a result that has been read to its end, with what its driver said
// about the columns.
type rowSet struct {
	columns []columnType
	rows    [][]driver.Value
}

// columnType is what the optional interfaces of driver.Rows tell.
type columnType struct {
	name, database                   string
	scan                             reflect.Type
	length, precision, scale         int64
	nullable                         bool
	hasLength, hasScale, hasNullable bool
}

// readSet reads and closes r. The columns are looked at first: some drivers
// forget them.
func readSet(r driver.Rows) (*rowSet, error) {
	set := &rowSet{}
	for i, name := range r.Columns() {
		set.columns = append(set.columns, typeOf(r, i, name))
	}
	for {
		line := make([]driver.Value, len(set.columns))
		if err := r.Next(line); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, errors.Join(fmt.Errorf("read rows: %w", err), r.Close())
		}
		for i, v := range line {
			if b, ok := v.([]byte); ok { // the driver's own until the next row
				line[i] = slices.Clone(b)
			}
		}
		set.rows = append(set.rows, line)
	}
	if err := r.Close(); err != nil {
		return nil, fmt.Errorf("close rows: %w", err)
	}
	return set, nil
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

// rowSets gives results one after the other.
type rowSets struct {
	sets []*rowSet // never empty; the first is the current one
	next int       // row of it
}

var (
	_ driver.RowsNextResultSet              = (*rowSets)(nil)
	_ driver.RowsColumnTypeScanType         = (*rowSets)(nil)
	_ driver.RowsColumnTypeDatabaseTypeName = (*rowSets)(nil)
	_ driver.RowsColumnTypeLength           = (*rowSets)(nil)
	_ driver.RowsColumnTypeNullable         = (*rowSets)(nil)
	_ driver.RowsColumnTypePrecisionScale   = (*rowSets)(nil)
)

func (r *rowSets) column(i int) *columnType { return &r.sets[0].columns[i] }

func (r *rowSets) Columns() []string {
	names := make([]string, len(r.sets[0].columns))
	for i := range names {
		names[i] = r.column(i).name
	}
	return names
}

func (r *rowSets) Close() error { return nil }

func (r *rowSets) Next(dest []driver.Value) error {
	if r.next == len(r.sets[0].rows) {
		return io.EOF
	}
	copy(dest, r.sets[0].rows[r.next])
	r.next++
	return nil
}

func (r *rowSets) HasNextResultSet() bool { return len(r.sets) > 1 }

func (r *rowSets) NextResultSet() error {
	if !r.HasNextResultSet() {
		return io.EOF
	}
	r.sets, r.next = r.sets[1:], 0
	return nil
}

func (r *rowSets) ColumnTypeScanType(i int) reflect.Type   { return r.column(i).scan }
func (r *rowSets) ColumnTypeDatabaseTypeName(i int) string { return r.column(i).database }
func (r *rowSets) ColumnTypeLength(i int) (int64, bool) {
	return r.column(i).length, r.column(i).hasLength
}

func (r *rowSets) ColumnTypeNullable(i int) (nullable, ok bool) {
	return r.column(i).nullable, r.column(i).hasNullable
}

func (r *rowSets) ColumnTypePrecisionScale(i int) (precision, scale int64, ok bool) {
	return r.column(i).precision, r.column(i).scale, r.column(i).hasScale
}
