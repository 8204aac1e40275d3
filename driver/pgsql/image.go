package pgsql

import (
	"strings"

	"github.com/globaltx/globaltx/undo"
)

// keyHash is gtx_undo.keyh of the row ref: 128 bits that follow the equality of
// the key's types (1.0 = 1.00, citext 'a' = 'A'), as two decimal numbers.
func keyHash(t *undo.Table, ref string) string {
	var cols []string
	for _, k := range t.Key {
		col := ref + "." + ident(t.Columns[k].Name)
		cols = append(cols, col)
		if strings.HasPrefix(t.Columns[k].Type, "numeric") { // whose NaN and infinities have one hash, under every seed
			for _, special := range []string{"NaN", "Infinity"} {
				cols = append(cols, col+" OPERATOR(pg_catalog.=) '"+special+"'::pg_catalog.numeric")
			}
		}
	}
	row := "ROW(" + strings.Join(cols, ", ") + ")"
	return "pg_catalog.concat(pg_catalog.hash_record_extended(" + row + ", 0), ':', pg_catalog.hash_record_extended(" + row + ", " + seed2 + "))"
}

// digest is gtx_undo.before_sum and after_img of a row. Always hand it "ref.*": a
// bare "ref" would be the column of that name where there is one.
func digest(row string) string {
	return "pg_catalog.encode(pg_catalog.sha256(pg_catalog.record_send(" + row + ")), 'hex')"
}

// rowImage is gtx_undo.before_img: the row ref as text. It names every column, so
// that the server refuses the statement when one is gone.
func rowImage(t *undo.Table, ref string) string {
	cols := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		cols[i] = ref + "." + ident(c.Name)
		if hasAttr(c, attrXML) {
			cols[i] += "::pg_catalog.text"
		}
	}
	return funcImage + "(ROW(" + strings.Join(cols, ", ") + "))"
}

// rowDigest is the digest of the row ref, which a statement may know as the row of
// a partition.
func rowDigest(t *undo.Table, ref string) string {
	if !readAttr(t).partition() {
		return digest(ref + ".*")
	}
	cols := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		cols[i] = ref + "." + ident(c.Name)
	}
	return digest("ROW(" + strings.Join(cols, ", ") + ")")
}

// keyImage is gtx_undo.before_img of an inserted row, which is needed only to
// find the row again: NULL stands for all but the key, unless a domain could
// refuse it. It names every column too.
func keyImage(t *undo.Table, ref string) string {
	cols := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		if hasAttr(c, attrDomain) {
			return rowImage(t, ref)
		}
		cols[i] = "CASE WHEN false THEN " + ref + "." + ident(c.Name) + " END"
	}
	for _, k := range t.Key {
		cols[k] = ref + "." + ident(t.Columns[k].Name)
	}
	return funcImage + "(ROW(" + strings.Join(cols, ", ") + "))"
}
