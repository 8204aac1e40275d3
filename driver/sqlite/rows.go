package sqlite

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"reflect"
)

// buffered are the rows of a statement that has ended, without our key column.
type buffered struct {
	columns   []string
	types     []string
	scanTypes []reflect.Type
	lines     [][]driver.Value
}

var (
	_ driver.Rows                           = (*buffered)(nil)
	_ driver.RowsColumnTypeDatabaseTypeName = (*buffered)(nil)
	_ driver.RowsColumnTypeScanType         = (*buffered)(nil)
	_ driver.RowsColumnTypeNullable         = (*buffered)(nil)
)

func (b *buffered) Columns() []string { return b.columns }
func (b *buffered) Close() error      { b.lines = nil; return nil }

func (b *buffered) Next(dest []driver.Value) error {
	if len(b.lines) == 0 {
		return io.EOF
	}
	copy(dest, b.lines[0])
	b.lines = b.lines[1:]
	return nil
}

// ColumnTypeDatabaseTypeName is the base driver's answer.
func (b *buffered) ColumnTypeDatabaseTypeName(i int) string { return b.types[i] }

// ColumnTypeScanType is the base driver's answer for the first row.
func (b *buffered) ColumnTypeScanType(i int) reflect.Type { return b.scanTypes[i] }

// ColumnTypeNullable is the base driver's answer.
func (b *buffered) ColumnTypeNullable(int) (nullable, ok bool) { return true, true }

// buffer reads rows to their end; keyed says that their last column is the key
// image.
func buffer(base driver.Rows, keyed bool) (*buffered, []string, error) {
	all := base.Columns()
	n := len(all)
	if keyed {
		n--
	}
	if n < 0 {
		return nil, nil, errors.New("capture statement: RETURNING gave no column")
	}
	b := &buffered{columns: all[:n:n], types: make([]string, n), scanTypes: make([]reflect.Type, n)}
	if t, ok := base.(driver.RowsColumnTypeDatabaseTypeName); ok {
		for i := range n {
			b.types[i] = t.ColumnTypeDatabaseTypeName(i)
		}
	}
	scan, hasScan := base.(driver.RowsColumnTypeScanType)
	for i := range n {
		b.scanTypes[i] = reflect.TypeFor[any]()
		if hasScan {
			if t := scan.ColumnTypeScanType(i); t != nil {
				b.scanTypes[i] = t
			}
		}
	}
	var keys []string
	for {
		line := make([]driver.Value, len(all))
		if err := base.Next(line); errors.Is(err, io.EOF) {
			return b, keys, nil
		} else if err != nil {
			return nil, nil, err
		}
		if keyed {
			key, ok := line[n].(string)
			if !ok {
				return nil, nil, fmt.Errorf("capture statement: key is %T", line[n])
			}
			keys = append(keys, key)
		}
		if n > 0 {
			b.lines = append(b.lines, line[:n:n])
		}
	}
}

func readValues(rows driver.Rows) ([][]driver.Value, error) {
	var out [][]driver.Value
	for {
		line := make([]driver.Value, len(rows.Columns()))
		if err := rows.Next(line); errors.Is(err, io.EOF) {
			return out, nil
		} else if err != nil {
			return nil, err
		}
		out = append(out, line)
	}
}

func readTexts(rows driver.Rows) ([][]string, error) {
	lines, err := readValues(rows)
	out := make([][]string, len(lines))
	for i, l := range lines {
		out[i] = make([]string, len(l))
		for j, v := range l {
			if v != nil {
				out[i][j] = fmt.Sprint(v)
			}
		}
	}
	return out, err
}
