package inside

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func tableOf(name string, rows ...string) *table {
	t := &table{name: name, columns: []string{"id", "a", "b"}}
	for _, r := range rows {
		t.rows = append(t.rows, append([]string{"1"}, strings.Fields(r)...))
	}
	slices.SortFunc(t.rows, slices.Compare[[]string])
	return t
}

func snapshotOf(tables ...*table) *snapshot {
	s := &snapshot{tables: map[string]*table{}, unread: map[string]error{}}
	for _, t := range tables {
		s.tables[t.name] = t
	}
	return s
}

func TestCompare(t *testing.T) {
	before := snapshotOf(tableOf("t", "1 x y", "2 x y"))
	unread := snapshotOf(tableOf("t"))
	unread.unread["t"] = errors.New("denied")
	for _, tt := range []struct {
		name          string
		before, after *snapshot
		want          []string
	}{
		{"same", before, snapshotOf(tableOf("t", "2 x y", "1 x y")), nil},
		{"new empty table", before, snapshotOf(tableOf("t", "1 x y", "2 x y"), tableOf("u")), nil},
		{"column", before, snapshotOf(tableOf("t", "1 x z", "2 x y")), []string{"table t: column b is z, was y in row id=1 a=x b=y"}},
		{"missing", before, snapshotOf(tableOf("t", "2 x y")), []string{"table t: row is missing: id=1 a=x b=y"}},
		{"too many", before, snapshotOf(tableOf("t", "1 x y", "2 x y", "2 x y")), []string{"table t: row is too many: id=2 a=x b=y"}},
		{"table gone", before, snapshotOf(), []string{"table t is gone"}},
		{"new rows", before, snapshotOf(tableOf("t", "1 x y", "2 x y"), tableOf("u", "1 x y")), []string{"table u is new and has 1 rows"}},
		{"became unreadable", before, unread, []string{"table t: before: read <nil>; after: read denied"}},
		{"never readable", unread, unread, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, _, got := compare(tt.before, tt.after); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestCompareCounts(t *testing.T) {
	s := snapshotOf(tableOf("t", "1 x y", "2 x y"), tableOf("u", "1 x y"))
	if tables, rows, _ := compare(s, s); tables != 2 || rows != 3 {
		t.Errorf("compared %d tables, %d rows", tables, rows)
	}
}
