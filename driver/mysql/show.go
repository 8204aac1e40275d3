package mysql

import (
	"strings"

	"github.com/globaltx/globaltx/undo"
)

// Show prints values as the server's text, TIMESTAMP in UTC, and bytes that are
// no text in hexadecimal.
func (Dialect) Show(t *undo.Table, r *undo.Row) undo.Statement {
	// Not "IS NULL" on the column itself, which is true of a date 0000-00-00.
	here := "HEX(" + column(rowAlias, &t.Columns[t.Key[0]]) + ") IS NOT NULL"
	same, before := "NOT ("+here+")", "NULL"
	var was, now, key []string
	for i := range t.Columns {
		if c := &t.Columns[i]; !c.Generated {
			was = append(was, shown(c, text(undoAlias, t, i), element(undoAlias, t, i, ".j")))
			now = append(now, shown(c, encode(rowAlias, c), column(rowAlias, c)))
		}
	}
	if r.Op != undo.Insert {
		same = "(" + here + ") AND " + digest(image(rowAlias, t)) + "=" + digest(undoAlias+".before_img")
		before = "JSON_ARRAY(" + strings.Join(was, ",") + ")"
	}
	for _, k := range t.Key {
		c := &t.Columns[k]
		key = append(key, shown(c, text(undoAlias, t, k), element(undoAlias, t, k, ".j")))
	}
	return undo.Statement{
		Text: "SELECT " + strings.Join([]string{
			"IF(" + here + ",1,0)",
			"IF(" + here + ",COALESCE(" + digest(image(rowAlias, t)) + "=" + undoAlias + ".after_img,0)," + undoAlias + ".after_img IS NULL)",
			"IF(" + same + ",1,0)",
			"JSON_ARRAY(" + strings.Join(key, ",") + ")",
			before,
			"IF(" + here + ",JSON_ARRAY(" + strings.Join(now, ",") + "),NULL)",
		}, ", ") + " FROM gtx_undo AS " + undoAlias + " FORCE INDEX (PRIMARY) LEFT JOIN " + t.Name + " AS " + rowAlias +
			" FORCE INDEX (PRIMARY) ON " + matches(rowAlias, undoAlias, t) + " WHERE " + undoRow,
		Args: undoArgs(r),
	}
}

// shown turns the text of an image into what a person reads. json is the value
// itself of a JSON column, which has no such text.
func shown(c *undo.Column, x, json string) string {
	switch kindOf(c) {
	case kTimestamp:
		fraction := ""
		if n := length(c); n != "" {
			fraction = "(" + n + ")"
		}
		n := "CAST(" + x + " AS DECIMAL(20,6))"
		return "IF(" + n + "=0,'0000-00-00 00:00:00',CAST(CAST(FROM_UNIXTIME(" + n + ") AS DATETIME" + fraction + ") AS CHAR))"
	case kNumber:
		n := "CAST(" + x + " AS UNSIGNED)"
		switch labels := labels(c); {
		case labels == "":
			return x
		case baseType(c) == "enum":
			return "IF(" + x + " IS NULL,NULL,COALESCE(ELT(" + n + "," + labels + "),''))"
		default:
			return "MAKE_SET(" + n + "," + labels + ")"
		}
	case kBytes:
		if charset := attrOf(c).charset; charset != "" {
			return "CONVERT(CONVERT(UNHEX(" + x + ") USING " + charset + ") USING utf8mb4)"
		}
		return "CONCAT('0x'," + x + ")"
	case kJSON:
		return "CAST(" + json + " AS CHAR)"
	}
	return x
}

// labels gives those of an ENUM or SET as the catalogue writes them, a list of
// literals; "" for BIT, and where a literal could read differently here.
func labels(c *undo.Column) string {
	from, to := strings.IndexByte(c.Type, '('), strings.LastIndexByte(c.Type, ')')
	if baseType(c) == "bit" || from < 0 || to < from || strings.IndexByte(c.Type, '\\') >= 0 {
		return ""
	}
	return c.Type[from+1 : to]
}

// Force deletes the row of an insert. Else it changes the row that stands under
// the key and inserts it where none does.
func (Dialect) Force(t *undo.Table, r *undo.Row) []undo.Statement {
	args := undoArgs(r)
	if r.Op == undo.Insert {
		return []undo.Statement{{Text: "DELETE " + rowAlias + " FROM " + joined(t) + " WHERE " + undoRow, Args: args}}
	}
	var set, names, values []string
	for i := range t.Columns {
		if c := &t.Columns[i]; !c.Generated {
			set = append(set, column(rowAlias, c)+"="+decode(undoAlias, t, i))
			names = append(names, ident(c.Name))
			values = append(values, decode(undoAlias, t, i))
		}
	}
	return []undo.Statement{
		{Text: "UPDATE " + joined(t) + " SET " + strings.Join(set, ",") + " WHERE " + undoRow, Args: args},
		{Text: "INSERT INTO " + t.Name + " (" + strings.Join(names, ",") + ") SELECT " + strings.Join(values, ",") +
			" FROM gtx_undo AS " + undoAlias + " FORCE INDEX (PRIMARY) WHERE " + undoRow +
			" AND NOT EXISTS (SELECT 1 FROM " + t.Name + " AS " + rowAlias + " WHERE " + matches(rowAlias, undoAlias, t) + ")", Args: args},
	}
}
