package inside

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// mostShown bounds the differences of one table that are shown.
const mostShown = 5

// compare tells what differs between two looks at a database, and how much was
// compared. A table that could be read once only is a difference.
func compare(before, after *snapshot) (tables, rows int, diff []string) {
	for _, name := range slices.Sorted(maps.Keys(before.tables)) {
		b, a := before.tables[name], after.tables[name]
		was, is := before.unread[name], after.unread[name]
		switch {
		case a == nil:
			diff = append(diff, "table "+name+" is gone")
		case was != nil && is != nil: // the base driver's user may not read it
		case was != nil || is != nil:
			diff = append(diff, fmt.Sprintf("table %s: before: read %v; after: read %v", name, was, is))
		case !slices.Equal(a.columns, b.columns):
			diff = append(diff, fmt.Sprintf("table %s: columns %v, before %v", name, a.columns, b.columns))
		default:
			tables++
			rows += len(b.rows)
			diff = append(diff, compareRows(b, a)...)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(after.tables)) {
		if a := after.tables[name]; before.tables[name] == nil && (len(a.rows) > 0 || after.unread[name] != nil) {
			diff = append(diff, fmt.Sprintf("table %s is new and has %d rows", name, len(a.rows)))
		}
	}
	return tables, rows, diff
}

// compareRows walks two sorted lists of rows.
func compareRows(before, after *table) []string {
	var gone, extra [][]string
	b, a := before.rows, after.rows
	for len(b) > 0 || len(a) > 0 {
		switch {
		case len(a) == 0 || len(b) > 0 && slices.Compare(b[0], a[0]) < 0:
			gone, b = append(gone, b[0]), b[1:]
		case len(b) == 0 || slices.Compare(b[0], a[0]) > 0:
			extra, a = append(extra, a[0]), a[1:]
		default:
			a, b = a[1:], b[1:]
		}
	}
	var diff []string
	for len(gone) > 0 {
		row := gone[0]
		gone = gone[1:]
		if i := nearest(row, extra); i >= 0 {
			diff = append(diff, "table "+before.String()+": "+columns(before, row, extra[i]))
			extra = slices.Delete(extra, i, i+1)
			continue
		}
		diff = append(diff, "table "+before.String()+": row is missing: "+named(before, row))
	}
	for _, row := range extra {
		diff = append(diff, "table "+before.String()+": row is too many: "+named(before, row))
	}
	if n := len(diff) - mostShown; n > 0 {
		diff = append(diff[:mostShown], fmt.Sprintf("table %s: %d more differences", before, n))
	}
	return diff
}

// nearest gives the row with the most columns in common, half of them at least.
func nearest(row []string, among [][]string) int {
	best, most := -1, len(row)/2+1 // the first is always 1
	for i, x := range among {
		n := 0
		for j := range row {
			if x[j] == row[j] {
				n++
			}
		}
		if n >= most {
			best, most = i, n
		}
	}
	return best
}

// columns shows what differs in two forms of a row.
func columns(t *table, before, after []string) string {
	var out []string
	for i, c := range t.columns {
		if before[i+1] != after[i+1] {
			out = append(out, fmt.Sprintf("column %s is %s, was %s", c, short(after[i+1]), short(before[i+1])))
		}
	}
	return strings.Join(out, ", ") + " in row " + named(t, before)
}

func named(t *table, row []string) string {
	var out []string
	for i, c := range t.columns {
		out = append(out, c+"="+row[i+1])
	}
	return short(strings.Join(out, " "))
}
