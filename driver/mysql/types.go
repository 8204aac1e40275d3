package mysql

import (
	"strconv"
	"strings"

	"github.com/globaltx/globaltx/undo"
)

// kind groups the column types that are encoded and compared alike.
type kind uint8

const (
	kUnknown   kind = iota
	kPlain          // its text form is exact: integers, DECIMAL, DOUBLE, dates, UUID, INET
	kFloat          // the text form of FLOAT has too few digits
	kTimestamp      // its text form depends on the session's time zone
	kNumber         // BIT, ENUM, SET: the number behind it
	kBytes          // the stored bytes: character and binary strings, GEOMETRY, VECTOR
	kJSON           // JSON of MySQL, whose values have types that no text shows
)

var kinds = map[string]kind{
	"tinyint": kPlain, "smallint": kPlain, "mediumint": kPlain, "int": kPlain, "bigint": kPlain,
	"decimal": kPlain, "double": kPlain, "float": kFloat,
	"date": kPlain, "datetime": kPlain, "time": kPlain, "year": kPlain, "timestamp": kTimestamp,
	"uuid": kPlain, "inet4": kPlain, "inet6": kPlain,
	"bit": kNumber, "enum": kNumber, "set": kNumber,
	"char": kBytes, "varchar": kBytes, "tinytext": kBytes, "text": kBytes, "mediumtext": kBytes, "longtext": kBytes,
	"binary": kBytes, "varbinary": kBytes, "tinyblob": kBytes, "blob": kBytes, "mediumblob": kBytes, "longblob": kBytes,
	"geometry": kBytes, "point": kBytes, "linestring": kBytes, "polygon": kBytes, "multipoint": kBytes,
	"multilinestring": kBytes, "multipolygon": kBytes, "geometrycollection": kBytes, "geomcollection": kBytes,
	"vector": kBytes, "json": kJSON,
}

// keyTypes can be the column of a key: equality of the stored values can be
// asked for, with the index, by a value decoded from an image.
var keyTypes = map[string]bool{
	"tinyint": true, "smallint": true, "mediumint": true, "int": true, "bigint": true, "decimal": true,
	"char": true, "varchar": true, "binary": true, "varbinary": true,
	"date": true, "datetime": true, "time": true, "year": true, "uuid": true,
}

// baseType is the type without length and attributes: "bigint" of "bigint(20) unsigned".
func baseType(c *undo.Column) string {
	i := strings.IndexAny(c.Type, "( ")
	if i < 0 {
		return c.Type
	}
	return c.Type[:i]
}

// length is what stands in the brackets of a type, "" when there is nothing.
func length(c *undo.Column) string {
	_, rest, ok := strings.Cut(c.Type, "(")
	if !ok {
		return ""
	}
	n, _, _ := strings.Cut(rest, ")")
	return n
}

func kindOf(c *undo.Column) kind { return kinds[baseType(c)] }

func unsigned(c *undo.Column) bool { return strings.Contains(c.Type, "unsigned") }

// attr is what Column.Attr holds: character set, collation, and whether the
// column is left out of "all columns".
type attr struct {
	charset, collation string
	invisible          bool
}

func (a attr) String() string {
	return a.charset + " " + a.collation + " " + strconv.FormatBool(a.invisible)
}

func attrOf(c *undo.Column) attr {
	f := strings.SplitN(c.Attr, " ", 3)
	if len(f) != 3 {
		return attr{}
	}
	return attr{charset: f[0], collation: f[1], invisible: f[2] == "true"}
}

// noPad tells whether trailing spaces count in comparisons. The names of the
// collations say so on both servers.
func (a attr) noPad() bool {
	return strings.Contains(a.collation, "_0900_") || strings.Contains(a.collation, "nopad")
}
