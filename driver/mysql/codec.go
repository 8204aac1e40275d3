package mysql

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/globaltx/globaltx/undo"
)

// An image is a JSON array with one element per column that can be written, in
// table order: JSON null for NULL, and for every other value an ASCII text that
// says it exactly, whatever the session's settings:
//
//	integers, DECIMAL, DOUBLE, DATE, DATETIME, TIME, YEAR, UUID, INET   the text form,
//	                      without the zeros of ZEROFILL
//	FLOAT                 the text form of the DOUBLE of the same value
//	TIMESTAMP             seconds since 1970, with the fraction
//	BIT, ENUM, SET        the number
//	strings, BLOB, GEOMETRY, VECTOR, JSON of MariaDB   the stored bytes in hexadecimal
//	JSON of MySQL         {"j": the value}, which keeps types inside the value
//
// The before image of a row that was inserted holds only the key, the other
// elements are null. A digest is SHA-256 over the array's text.

// ident quotes a name.
func ident(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// column gives a column of the table that ref names.
func column(ref string, c *undo.Column) string { return ref + "." + ident(c.Name) }

// encode gives the element of the image for a column.
func encode(ref string, c *undo.Column) string { return encodeValue(column(ref, c), c) }

func encodeValue(v string, c *undo.Column) string {
	switch kindOf(c) {
	case kFloat:
		return "CAST(CAST(" + v + " AS DOUBLE) AS CHAR)"
	case kTimestamp:
		return "CAST(UNIX_TIMESTAMP(" + v + ") AS CHAR)"
	case kNumber:
		return "CAST(" + v + "+0 AS CHAR)"
	case kBytes:
		return "HEX(" + v + ")"
	case kJSON:
		return "IF(" + v + " IS NULL,NULL,JSON_OBJECT('j'," + v + "))"
	}
	if strings.Contains(c.Type, "zerofill") { // a new value has no zeros before it is stored
		v += "+0"
	}
	return "CAST(" + v + " AS CHAR)"
}

// image gives the whole image of a row.
func image(ref string, t *undo.Table) string {
	var e []string
	for i := range t.Columns {
		if c := &t.Columns[i]; !c.Generated {
			e = append(e, encode(ref, c))
		}
	}
	return "JSON_ARRAY(" + strings.Join(e, ",") + ")"
}

// keyImage gives the image with only the key.
func keyImage(ref string, t *undo.Table) string {
	return keyImageOf(t, func(c *undo.Column) string { return column(ref, c) })
}

// keyImageOf takes the values of the key from elsewhere.
func keyImageOf(t *undo.Table, value func(*undo.Column) string) string {
	e := make([]string, 0, len(t.Columns))
	for i := range t.Columns {
		switch c := &t.Columns[i]; {
		case c.Generated:
		case isKey(t, i):
			e = append(e, encodeValue(value(c), c))
		default:
			e = append(e, "NULL")
		}
	}
	return "JSON_ARRAY(" + strings.Join(e, ",") + ")"
}

// digest of an image. Its character set is named because the one of the
// connection may be too small for what a JSON value holds.
func digest(image string) string { return hash("CONVERT(" + image + " USING utf8mb4)") }

// hash gives a hash in the character set of gtx_undo's columns: without it
// MariaDB does not compare, and no server uses the index.
func hash(expr string) string {
	return "CONVERT(SHA2(" + expr + ",256) USING ascii) COLLATE ascii_bin"
}

func isKey(t *undo.Table, col int) bool {
	for _, k := range t.Key {
		if k == col {
			return true
		}
	}
	return false
}

// element gives column col out of the image of the undo row that undoRef names.
func element(undoRef string, t *undo.Table, col int, path string) string {
	n := 0
	for i := range col {
		if !t.Columns[i].Generated {
			n++
		}
	}
	return fmt.Sprintf("JSON_EXTRACT(%s.before_img,'$[%d]%s')", undoRef, n, path)
}

// text is an element as text, or NULL.
func text(undoRef string, t *undo.Table, col int) string {
	return "NULLIF(JSON_UNQUOTE(" + element(undoRef, t, col, "") + "),'null')"
}

// decode gives the value of a column from the image, for assigning it.
func decode(undoRef string, t *undo.Table, col int) string {
	x := text(undoRef, t, col)
	switch kindOf(&t.Columns[col]) {
	case kTimestamp:
		n := "CAST(" + x + " AS DECIMAL(20,6))"
		return "IF(" + n + "=0,'0000-00-00 00:00:00',FROM_UNIXTIME(" + n + "))"
	case kNumber:
		return "CAST(" + x + " AS UNSIGNED)"
	case kBytes:
		return "UNHEX(" + x + ")"
	case kJSON:
		return element(undoRef, t, col, ".j")
	}
	return x
}

// asKey gives expr in the type and collation of a key column, so that comparing
// finds the stored value through the index. encoded: expr is the text of an
// image; else it is what a user's statement gives for the column.
func asKey(c *undo.Column, expr string, encoded bool) string {
	a, n := attrOf(c), length(c)
	fraction := ""
	if n != "" {
		fraction = "(" + n + ")"
	}
	switch t := baseType(c); t {
	case "char", "varchar":
		if encoded {
			expr = "UNHEX(" + expr + ")"
		}
		expr = "CONVERT(" + expr + " USING " + a.charset + ")"
		if t == "char" {
			expr = "TRIM(TRAILING ' ' FROM " + expr + ")"
		}
		return expr + " COLLATE " + a.collation
	case "binary":
		if encoded {
			return "UNHEX(" + expr + ")"
		}
		return "CAST(" + expr + " AS BINARY" + fraction + ")"
	case "varbinary":
		if encoded {
			return "UNHEX(" + expr + ")"
		}
		return "CAST(" + expr + " AS BINARY)"
	case "decimal":
		return "CAST(" + expr + " AS DECIMAL" + fraction + ")"
	case "date":
		return "CAST(" + expr + " AS DATE)"
	case "datetime", "time":
		return "CAST(" + expr + " AS " + strings.ToUpper(t) + fraction + ")"
	case "uuid":
		return "CAST(" + expr + " AS UUID)"
	}
	if unsigned(c) || baseType(c) == "year" {
		return "CAST(" + expr + " AS UNSIGNED)"
	}
	return "CAST(" + expr + " AS SIGNED)"
}

// matches compares the key of ref's row with the key in the image of undoRef.
func matches(ref, undoRef string, t *undo.Table) string {
	p := make([]string, 0, len(t.Key))
	for _, k := range t.Key {
		c := &t.Columns[k]
		p = append(p, column(ref, c)+"="+asKey(c, text(undoRef, t, k), true))
	}
	return strings.Join(p, " AND ")
}

// keyHash gives the hash of a row's key: equal for two keys exactly when the
// primary key calls them equal, so strings go through the weights of their
// collation.
func keyHash(ref string, t *undo.Table) string {
	return keyHashOf(t, func(c *undo.Column) string { return column(ref, c) })
}

// keyHashOf takes the values of the key from elsewhere.
func keyHashOf(t *undo.Table, value func(*undo.Column) string) string {
	p := make([]string, 0, len(t.Key))
	for _, k := range t.Key {
		c := &t.Columns[k]
		v := value(c)
		switch b := baseType(c); {
		case b == "char" || b == "varchar":
			if !attrOf(c).noPad() {
				v += " AS CHAR(" + strconv.Itoa(max(1, atoi(length(c)))) + ")"
			}
			p = append(p, "HEX(WEIGHT_STRING("+v+"))")
		default:
			p = append(p, encodeValue(v, c))
		}
	}
	return hash("CONCAT_WS('|'," + strings.Join(p, ",") + ")")
}

func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}

// tableLiteral gives Table.ID in a form that no mode of the session reads
// differently.
func tableLiteral(t *undo.Table) string { return fmt.Sprintf("_utf8mb4 X'%x'", t.ID) }
