package mysql

import (
	"database/sql/driver"
	"math"
	"strconv"
	"strings"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy"
)

// The user's statement was prepared, as most are that have arguments: the server has
// then been given each argument with its type. go-sql-driver writes them into the
// text of a capture, where some would be read as another type:
//
//	argument  prepared               written             and here
//	float64   DOUBLE                 DECIMAL or integer  with an exponent, which makes a DOUBLE
//	[]byte    text of the session's  _binary'...'        as a string
//	          character set
//
// A DOUBLE divides, rounds and becomes JSON in another way than a DECIMAL; a binary
// string is compared byte by byte, is not converted, and is no JSON. The others mean
// the same, but for an unsigned number below 2^63, which is a signed one in a text:
// arithmetic that the server refuses, because its result is below zero, is not refused.

// described gives for an argument of a prepared statement what go-sql-driver should
// write, or the literal that stands in its place.
func described(v driver.Value) (arg driver.Value, literal string) {
	switch v := v.(type) {
	case float64:
		return nil, strconv.FormatFloat(v, 'e', -1, 64)
	case []byte:
		if v != nil {
			return string(v), ""
		}
	}
	return v, ""
}

// checkDescribed refuses arguments that cannot be written into the text so that they
// mean what they would beside it.
func checkDescribed(r *proxy.Capture) error {
	for _, h := range r.Stmt.Placeholders {
		switch v := r.Args[h.Ordinal-1].Value.(type) {
		case float64:
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return unsupported("arguments", "an argument is "+strconv.FormatFloat(v, 'g', -1, 64)+", which SQL has no word for", "")
			}
		case int64, uint64, bool, nil:
		default: // strings that follow each other are one
			if rest := strings.TrimLeft(r.Stmt.Text[h.Span.End:], " \t\r\n\v\f"); rest != "" && strings.IndexByte(`'"`, rest[0]) >= 0 {
				return &gtx.UnsupportedError{Code: "arguments", Reason: "a string follows a placeholder, and would be taken for a part of the argument", Hint: "write AS between the two"}
			}
		}
	}
	return nil
}

// asPrepared gives rows of a text as go-sql-driver gives those of a prepared statement:
// an unsigned number is an int64 there, or its digits where it is too large for that.
func asPrepared(rows [][]driver.Value) {
	for _, row := range rows {
		for i, v := range row {
			switch u, ok := v.(uint64); {
			case !ok:
			case u > math.MaxInt64:
				row[i] = strconv.AppendUint(nil, u, 10)
			default:
				row[i] = int64(u)
			}
		}
	}
}
