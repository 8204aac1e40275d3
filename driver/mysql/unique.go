package mysql

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// uniqueKey is an index by which a new row can meet one that is there.
type uniqueKey struct {
	Name    string
	Columns []int  // of undo.Table.Columns
	Hash    bool   // MariaDB: of values too long for an index
	Odd     string // why rows cannot be found by it; "" when they can
}

// uniqueKeys reads all of them, the primary key first, in the form of Table.Attr.
// They are no part of the fingerprint: images do not depend on them.
func uniqueKeys(ctx context.Context, q undo.Query, schema, name string, cols []undo.Column) (string, error) {
	rows, err := q(ctx, `SELECT INDEX_NAME, COLUMN_NAME, SUB_PART, INDEX_TYPE FROM information_schema.STATISTICS
	WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND NON_UNIQUE = 0 ORDER BY INDEX_NAME <> 'PRIMARY', INDEX_NAME, SEQ_IN_INDEX`, schema, name)
	if err != nil {
		return "", fmt.Errorf("read unique keys of %s.%s: %w", schema, name, err)
	}
	var keys []uniqueKey
	for _, r := range rows {
		if len(keys) == 0 || keys[len(keys)-1].Name != r[0] {
			keys = append(keys, uniqueKey{Name: r[0], Hash: r[3] == "HASH"})
		}
		k, at := &keys[len(keys)-1], -1
		for i := range cols {
			if cols[i].Name == r[1] {
				at = i
			}
		}
		switch {
		case at < 0:
			k.Odd = "it is over an expression"
		case r[2] != "":
			k.Odd = "it holds only the beginning of " + r[1]
		case cols[at].Generated:
			k.Odd = "column " + r[1] + " is generated"
		case !keyTypes[baseType(&cols[at])]:
			k.Odd = "column " + r[1] + " is a " + cols[at].Type
		default:
			k.Columns = append(k.Columns, at)
		}
	}
	out, err := json.Marshal(keys)
	if err != nil {
		return "", fmt.Errorf("write unique keys of %s.%s: %w", schema, name, err)
	}
	return string(out), nil
}

// uniqueOf gives the unique keys by which rows of the statement must be looked
// for, and refuses those where that cannot be.
func uniqueOf(r *proxy.Capture) ([]uniqueKey, error) {
	var keys []uniqueKey
	if err := json.Unmarshal([]byte(r.Table.Attr), &keys); err != nil {
		return nil, fmt.Errorf("read unique keys of %s: %w", r.Table.ID, err)
	}
	for _, k := range keys {
		if k.Odd != "" {
			return nil, unsupported("unique-key", fmt.Sprintf("rows in the way cannot be found by the unique key %s: %s", k.Name, k.Odd),
				"use UPDATE, and INSERT when it changed nothing")
		}
		if k.Hash && r.Stmt.Replace {
			return nil, unsupported("unique-key", "the unique key "+k.Name+" is a hash, which the server asks first, and does not count a row that REPLACE finds equal there",
				"use ON DUPLICATE KEY UPDATE")
		}
		for _, col := range k.Columns {
			at := place(r, col)
			for _, row := range r.Stmt.Rows {
				if at >= len(row) && r.Stmt.Source != sqltext.SourceDefaults {
					return nil, unsupported("values-count", "a row of VALUES has too few values", "")
				}
				if at >= 0 && r.Stmt.Source != sqltext.SourceDefaults && row[at].Kind == sqltext.ValueOther {
					return nil, unsupported("key-expression", "the value of "+r.Table.Columns[col].Name+
						", which is in a unique key, is not a plain literal or argument, so rows in the way could not be found", "compute the value in the program")
				}
			}
		}
	}
	return keys, nil
}

// inWay adds the condition for the rows that have the values of one row of
// VALUES in a unique key. A generated value meets nothing.
func inWay(p *packet, r *proxy.Capture, from []source, row int, k uniqueKey, ref string) {
	for i, col := range k.Columns {
		if i > 0 {
			p.add(" AND ")
		}
		c := &r.Table.Columns[col]
		const hole = "\x00"
		head, tail, _ := strings.Cut(asKey(c, hole, false), hole)
		p.add(column(ref, c), "=")
		at := place(r, col)
		if r.Stmt.Source == sqltext.SourceDefaults {
			at = -1
		}
		switch {
		case sourceIn(r, from, col) == generated:
			p.add("NULL")
		case at < 0 || r.Stmt.Rows[row][at].Kind == sqltext.ValueDefault:
			p.add(head, "DEFAULT(", column(ref, c), ")", tail)
		case sourceIn(r, from, col) == zero:
			p.add("IF(FIND_IN_SET('NO_AUTO_VALUE_ON_ZERO',@@sql_mode),0,NULL)")
		default:
			p.add(head)
			p.user(r.Stmt.Rows[row][at].Span)
			p.add(tail)
		}
	}
}

// sourceIn gives the source of a column: those of the primary key are known, and
// only there is auto_increment of interest.
func sourceIn(r *proxy.Capture, from []source, col int) source {
	for i, k := range r.Table.Key {
		if k == col {
			return from[i]
		}
	}
	return given
}

// rowsInWay adds the condition for all rows of VALUES.
func rowsInWay(p *packet, r *proxy.Capture, from [][]source, k uniqueKey, ref string) {
	for row := range from {
		if row > 0 {
			p.add(" OR ")
		}
		p.add("(")
		inWay(p, r, from[row], row, k, ref)
		p.add(")")
	}
}

// hits adds the number of rows of VALUES that meet a captured row.
func hits(p *packet, r *proxy.Capture, from [][]source, keys []uniqueKey, ref string) {
	for row := range from {
		if row > 0 {
			p.add("+")
		}
		p.add("(")
		for i, k := range keys {
			if i > 0 {
				p.add(" OR ")
			}
			p.add("EXISTS (SELECT 1 FROM ", ref, " FORCE INDEX (", ident(k.Name), ") WHERE ")
			inWay(p, r, from[row], row, k, ref)
			p.add(" AND ", exists(r, ref), " FOR UPDATE)")
		}
		p.add(")")
	}
}
