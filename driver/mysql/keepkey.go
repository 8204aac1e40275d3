package mysql

import (
	"regexp"
	"strings"

	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

// ownValue is a column, maybe of a table, maybe as the argument of LAST_INSERT_ID.
var ownValue = regexp.MustCompile("(?i)^\\s*(last_insert_id\\s*\\()?\\s*(?:(?:`([^`]+)`|(\\w+))\\s*\\.\\s*)?(?:`([^`]+)`|(\\w+))\\s*(\\))?\\s*$")

// newValue is what the new row has in a column.
var newValue = regexp.MustCompile("(?i)^\\s*values\\s*\\(\\s*(?:`([^`]+)`|(\\w+))\\s*\\)\\s*$")

// keepsKey tells whether ON DUPLICATE KEY UPDATE gives every column of the primary
// key that it assigns the value that it has. Programs write so:
//
//	id = id                    what is there stays: GORM's DoNothing
//	id = LAST_INSERT_ID(id)    and the caller learns its number: ent's upserts
//
//	id = VALUES(id)            the same, where nothing but the key can be met: GORM's
//	                           associations
//
// The second form sets what the new rows are found by, so it stands alone with one row.
// The third is sure of numbers only: equal strings may differ in case.
func keepsKey(r *proxy.Capture, u sqltext.Upsert) bool {
	s, t := r.Stmt, r.Table
	all := assignments(s, u.Set, u.SetColumns)
	if all == nil {
		return false
	}
	for _, a := range all {
		col := index(t, a.column.Name)
		if col < 0 || !isKey(t, col) {
			continue
		}
		text := s.Slice(a.expr)
		if m := newValue.FindStringSubmatch(text); m != nil && strings.EqualFold(m[1]+m[2], a.column.Name) && metByKey(r, col) {
			continue
		}
		m := ownValue.FindStringSubmatch(text)
		if m == nil || (m[1] == "") != (m[6] == "") || m[1] != "" && (len(s.Rows) != 1 || s.Source == sqltext.SourceQuery) {
			return false
		}
		if !strings.EqualFold(m[4]+m[5], a.column.Name) {
			return false
		}
		// Another qualifier is the new row's, or a table's of the query.
		if of := m[2] + m[3]; of != "" && !strings.EqualFold(of, s.Target().Name.Table) {
			return false
		}
	}
	return true
}

// metByKey tells whether a row in the way of a new one has its value in a column of the
// primary key: there is no other unique key, and equal values are the same.
func metByKey(r *proxy.Capture, col int) bool {
	if keys, err := uniqueOf(r); err != nil || len(keys) != 1 {
		return false
	}
	switch baseType(&r.Table.Columns[col]) {
	case "tinyint", "smallint", "mediumint", "int", "bigint":
		return true
	}
	return false
}
